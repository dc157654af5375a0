// SPDX-License-Identifier: Apache-2.0

// What holds a pod's namespaces open, and a test node's: it waits for a signal and buries the dead.
// As the first process of a test node it also ends with the test run: then its whole PID namespace does.
package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	if os.Getenv("WATCHWORD_STOP_AT_END_OF_INPUT") != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			buried, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if buried <= 0 && err != syscall.EINTR {
				break
			}
		}
	}
}
