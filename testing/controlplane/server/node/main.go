// SPDX-License-Identifier: Apache-2.0

// One program that is the rest of a cluster, told apart by the name that it is started as: `kubelet`,
// `kube-controller-manager`, `kube-scheduler`, `kube-proxy`. Each is the upstream program, whole, with its own
// flags. It is a program of its own beside the API server's: most tests need no node, and do not wait for it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // as upstream's own mains
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // as upstream's own mains
	_ "k8s.io/component-base/metrics/prometheus/version"  // as upstream's own mains
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	// A test run that is killed outright cannot stop what it started; that its end of this pipe closes, can.
	if os.Getenv("WATCHWORD_STOP_AT_END_OF_INPUT") != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	os.Exit(cli.Run(command(filepath.Base(os.Args[0]))))
}

func command(name string) *cobra.Command {
	switch name {
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	case "kube-controller-manager":
		return controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kube-proxy":
		return proxy.NewProxyCommand()
	}
	fmt.Fprintln(os.Stderr, "start it as kubelet, kube-controller-manager, kube-scheduler or kube-proxy")
	os.Exit(2)
	return nil
}
