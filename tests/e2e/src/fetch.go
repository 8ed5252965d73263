// SPDX-License-Identifier: Apache-2.0
// Fetches an address by HTTP: a static program, whose name look-ups and connections are Go's own.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	r, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if _, err = io.Copy(os.Stdout, r.Body); err != nil {
		os.Exit(1)
	}
}
