// SPDX-License-Identifier: Apache-2.0

// kube-controller-manager, whole, with its own flags: garbage collector, namespace controller and the rest. It is a
// program apart from the API server's, because few tests need it, and from the node's, because those that do need
// no kubelet and no container runtime.
package main

import (
	"io"
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // as upstream's own main
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // as upstream's own main
	_ "k8s.io/component-base/metrics/prometheus/version"  // as upstream's own main
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	// A test run that is killed outright cannot stop what it started; that its end of this pipe closes, can.
	if os.Getenv("WATCHWORD_STOP_AT_END_OF_INPUT") != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	os.Exit(cli.Run(app.NewControllerManagerCommand()))
}
