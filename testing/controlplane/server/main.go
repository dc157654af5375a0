// SPDX-License-Identifier: Apache-2.0

// One program that is both halves of a control plane, told apart by the name that it is started as:
// `etcd` is etcd, anything else is kube-apiserver. Both are the upstream programs, whole, with their own flags;
// one build of one module keeps the tests from needing anything but Go, and from a fake API server that agrees
// with our own reading of Kubernetes.
package main

import (
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	// A test run that is killed outright cannot stop what it started; that its end of this pipe closes, can.
	if os.Getenv("WATCHWORD_STOP_AT_END_OF_INPUT") != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	if filepath.Base(os.Args[0]) == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
