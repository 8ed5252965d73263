// SPDX-License-Identifier: Apache-2.0
// A Go program of many parts: goroutines, channels, timers, files, a child process, HTTP over the loopback,
// and a nil dereference that has to become a panic.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

type node struct{ next *node; v int }

func nilDereference() (s string) {
	defer func() { s = fmt.Sprint(recover()) }()
	var n *node
	return fmt.Sprint(n.next.v)
}

func main() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for i := 1; i <= 1000; i++ {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			time.Sleep(time.Millisecond)
			mu.Lock()
			total += n
			mu.Unlock()
		}(i)
	}
	wg.Wait()
	fmt.Println("total", total)

	c := make(chan int)
	go func() {
		defer close(c)
		for i := 0; i < 5; i++ {
			c <- i * i
		}
	}()
	for v := range c {
		fmt.Print(v, " ")
	}
	fmt.Println()

	fmt.Println("nil:", nilDereference())

	f, err := os.CreateTemp("", "go")
	fmt.Println("temp", err)
	fmt.Fprintf(f, "hello %x\n", sha256.Sum256([]byte("coffer")))
	f.Seek(0, 0)
	b, _ := io.ReadAll(f)
	fmt.Print(string(b))
	os.Remove(f.Name())

	out, err := exec.Command("/bin/sh", "-c", "echo from child; exit 3").CombinedOutput()
	fmt.Printf("child %q %v\n", out, err)

	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "path %s", r.URL.Path)
	}))
	for i := 0; i < 20; i++ {
		r, err := http.Get(fmt.Sprintf("%s/%d", srv.URL, i))
		if err != nil {
			fmt.Println("http", err)
			os.Exit(1)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if i == 19 {
			fmt.Println(string(b))
		}
	}
	srv.Close()

	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println("signal", <-sig)

	done := make(chan bool)
	go func() { // a loop without calls: has to be preempted by a signal
		for i := 0; i >= 0; i++ {
			if i == 1<<30 {
				break
			}
		}
		done <- true
	}()
	runtime.GC()
	select {
	case <-done:
		fmt.Println("loop done")
	case <-time.After(60 * time.Second):
		fmt.Println("loop hangs")
	}
	os.Exit(4)
}
