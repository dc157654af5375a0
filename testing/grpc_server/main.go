// SPDX-License-Identifier: Apache-2.0

// A server of gRPC-Go that answers health checks about the service `demo`.
package main

import (
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	checks := health.NewServer()
	checks.SetServingStatus("demo", grpc_health_v1.HealthCheckResponse_SERVING)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, checks)
	log.Fatal(server.Serve(listener))
}
