// SPDX-License-Identifier: Apache-2.0
// A crowd of goroutines with timers, signals, collections, threads that are locked to goroutines, children, pipes and sockets.
// What it prints does not depend on who comes first. SCALE in the environment: how many times the work.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var scale = 1

func goroutines() {
	const n = 10000
	var wg sync.WaitGroup
	var sum int64
	in := make(chan int)
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			v := <-in
			runtime.Gosched()
			atomic.AddInt64(&sum, int64(v))
		}()
	}
	for i := 0; i < n; i++ {
		in <- i
	}
	wg.Wait()
	fmt.Println("goroutines", sum)

	// A chain: each hands on what it got, plus one.
	first := make(chan int)
	left := first
	for i := 0; i < 3000; i++ {
		right := make(chan int)
		go func(l, r chan int) { l <- 1 + <-r }(left, right)
		left = right
	}
	go func() { left <- 0 }()
	fmt.Println("chain", <-first)
}

func timers() {
	var fired, stopped int64
	var wg sync.WaitGroup
	for i := 0; i < 1000; i++ {
		wg.Add(1)
		time.AfterFunc(time.Duration(i%50)*time.Millisecond/10, func() { atomic.AddInt64(&fired, 1); wg.Done() })
		if time.AfterFunc(time.Hour, func() {}).Stop() {
			stopped++
		}
	}
	wg.Wait()
	expired := 0
	for i := 0; i < 100; i++ {
		c, cancel := context.WithTimeout(context.Background(), time.Duration(i%7)*100*time.Microsecond)
		<-c.Done()
		if c.Err() == context.DeadlineExceeded {
			expired++
		}
		cancel()
	}
	t := time.NewTicker(200 * time.Microsecond)
	for i := 0; i < 100; i++ {
		<-t.C
	}
	t.Stop()
	fmt.Println("timers", fired, stopped, expired)
}

// Collections that stop all goroutines, with loops that have to be preempted by signals, and a stream of other signals.
func signals() {
	c := make(chan os.Signal, 1000)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGUSR2)
	stop := make(chan bool)
	var spins int64
	var wg sync.WaitGroup
	for i := 0; i < 2; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				x := 0
				for j := 0; j < 20000; j++ {
					x ^= j
				}
				atomic.AddInt64(&spins, int64(1+x&1))
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	got := map[os.Signal]int{}
	for i := 0; i < 20*scale; i++ {
		s := syscall.SIGUSR1
		if i%2 == 1 {
			s = syscall.SIGUSR2
		}
		syscall.Kill(os.Getpid(), s)
		r := <-c
		got[r]++
		if i%4 == 0 {
			runtime.GC()
		}
	}
	close(stop)
	wg.Wait()
	signal.Stop(c)
	fmt.Println("signals", got[syscall.SIGUSR1]/scale, got[syscall.SIGUSR2]/scale, spins > 0)
}

type tree struct{ l, r *tree }

func grow(d int) *tree {
	if d == 0 {
		return &tree{}
	}
	return &tree{grow(d - 1), grow(d - 1)}
}
func (t *tree) count() int {
	if t.l == nil {
		return 1
	}
	return 1 + t.l.count() + t.r.count()
}

func garbage() {
	debug.SetGCPercent(20)
	keep := grow(14)
	var wg sync.WaitGroup
	var sum int64
	for i := 0; i < 8; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := 0; j < 10*scale; j++ {
				atomic.AddInt64(&sum, int64(grow(10).count()))
				if j%10 == 0 {
					debug.FreeOSMemory()
				}
			}
		}()
	}
	wg.Wait()
	debug.SetGCPercent(100)
	fmt.Println("garbage", sum/int64(scale), keep.count())
}

func nilPanics() {
	var caught int64
	var wg sync.WaitGroup
	for i := 0; i < 50; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := 0; j < 100; j++ {
				func() {
					defer func() {
						if recover() != nil {
							atomic.AddInt64(&caught, 1)
						}
					}()
					var t *tree
					fmt.Fprint(io.Discard, t.l.l)
				}()
			}
		}()
	}
	wg.Wait()
	fmt.Println("nil", caught)
}

func threads() {
	var wg sync.WaitGroup
	tids := make(chan int, 300)
	start := make(chan bool)
	for i := 0; i < 200; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			runtime.LockOSThread()
			if i%2 == 0 {
				defer runtime.UnlockOSThread() // the others end with their thread
			}
			<-start
			tids <- syscall.Gettid()
		}(i)
	}
	close(start)
	wg.Wait()
	close(tids)
	n := 0
	for range tids {
		n++
	}
	fmt.Println("threads", n)
}

func children() {
	var wg sync.WaitGroup
	codes := make([]int, 60)
	for i := range codes {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			cmd := exec.Command("/bin/sh", "-c", "read x; exit $x")
			cmd.Stdin = strings.NewReader(strconv.Itoa(i) + "\n")
			if e, ok := cmd.Run().(*exec.ExitError); ok {
				codes[i] = e.ExitCode()
			}
		}(i)
	}
	wg.Wait()
	sum := 0
	for _, c := range codes {
		sum += c
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := exec.CommandContext(ctx, "/bin/sleep", "1000").Run()
	fmt.Println("children", sum, err)
}

func sockets() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	u, err := net.Listen("unix", "crowd.sock")
	if err != nil {
		fmt.Println(err)
		return
	}
	serve := func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}
	go serve(l)
	go serve(u)
	var wg sync.WaitGroup
	var good, late int64
	for i := 0; i < 200; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			a := l.Addr()
			if i%2 == 1 {
				a = u.Addr()
			}
			c, err := net.Dial(a.Network(), a.String())
			if err != nil {
				fmt.Println(err)
				return
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for k := 0; k < 20*scale; k++ {
				fmt.Fprintf(c, "line %d of %d\n", k, i)
				if s, _ := r.ReadString('\n'); s == fmt.Sprintf("line %d of %d\n", k, i) {
					atomic.AddInt64(&good, 1)
				}
			}
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := r.ReadByte(); err != nil && err.(net.Error).Timeout() {
				atomic.AddInt64(&late, 1)
			}
		}(i)
	}
	wg.Wait()
	l.Close()
	u.Close()
	fmt.Println("sockets", good/int64(scale), late)
}

func pipes() {
	var wg sync.WaitGroup
	var sum int64
	for i := 0; i < 40; i++ {
		r, w, err := os.Pipe()
		if err != nil {
			fmt.Println(err)
			return
		}
		wg.Add(2)
		go func() { defer wg.Done(); w.Write(make([]byte, 300000)); w.Close() }()
		go func() { defer wg.Done(); n, _ := io.Copy(io.Discard, r); atomic.AddInt64(&sum, n); r.Close() }()
	}
	wg.Wait()
	dir, _ := os.MkdirTemp("", "crowd")
	for i := 0; i < 16; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			for j := 0; j < 30; j++ {
				name := filepath.Join(dir, fmt.Sprint(i, "-", j))
				if os.WriteFile(name, make([]byte, 5000), 0600) != nil || os.Rename(name, name+".new") != nil {
					fmt.Println("file", name)
				}
			}
		}(i)
	}
	wg.Wait()
	names, _ := os.ReadDir(dir)
	fmt.Println("pipes", sum, len(names), os.RemoveAll(dir))
}

func main() {
	if n, err := strconv.Atoi(os.Getenv("SCALE")); err == nil && n > 0 {
		scale = n
	}
	for i := 0; i < scale; i++ {
		goroutines()
		timers()
		signals()
		garbage()
		nilPanics()
		threads()
		children()
		sockets()
		pipes()
	}
}
