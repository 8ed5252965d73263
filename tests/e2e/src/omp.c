// SPDX-License-Identifier: Apache-2.0
// OpenMP: parallel loops, reductions, tasks, barriers, nested locks.
#include <omp.h>
#include <stdio.h>

static long fib(int n)
{
	long a, b;
	if (n < 2)
		return n;
	if (n < 12)
		return fib(n - 1) + fib(n - 2);
#pragma omp task shared(a)
	a = fib(n - 1);
	b = fib(n - 2);
#pragma omp taskwait
	return a + b;
}

int main(void)
{
	enum { N = 1000000 };
	static double v[N];
	double sum = 0;
	long ids = 0, f = 0, count = 0;
	omp_set_num_threads(4);
#pragma omp parallel for
	for (int i = 0; i < N; i++)
		v[i] = i * 0.5;
#pragma omp parallel for reduction(+ : sum)
	for (int i = 0; i < N; i++)
		sum += v[i];
	printf("sum %.1f\n", sum);
#pragma omp parallel reduction(+ : ids)
	ids += 1l << omp_get_thread_num();
	printf("threads %ld\n", ids);
#pragma omp parallel
#pragma omp single
	f = fib(22);
	printf("fib %ld\n", f);
#pragma omp parallel
	{
		for (int i = 0; i < 1000; i++) {
#pragma omp critical
			count++;
#pragma omp barrier
		}
	}
	printf("count %ld\n", count);
	return 0;
}
