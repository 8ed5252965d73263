// SPDX-License-Identifier: Apache-2.0
// Counts primes with as many goroutines as there are parts: primes N. Knows nothing of enclaves.
package main

import (
	"fmt"
	"os"
	"strconv"
)

func count(from, to int) (n int) {
	composite := make([]bool, to-from)
	for p := 2; p*p < to; p++ {
		first := (from + p - 1) / p * p
		if first < p*p {
			first = p * p
		}
		for i := first; i < to; i += p {
			composite[i-from] = true
		}
	}
	for i, c := range composite {
		if !c && i+from > 1 {
			n++
		}
	}
	return
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: primes N")
		os.Exit(2)
	}
	n, err := strconv.Atoi(os.Args[1])
	if err != nil || n < 0 {
		fmt.Fprintln(os.Stderr, "primes: not a number:", os.Args[1])
		os.Exit(2)
	}
	const part = 10000
	sums := make(chan int)
	for from := 0; from < n; from += part {
		to := from + part
		if to > n {
			to = n
		}
		go func(from, to int) { sums <- count(from, to) }(from, to)
	}
	total := 0
	for from := 0; from < n; from += part {
		total += <-sums
	}
	fmt.Println(total, "primes below", n)
}
