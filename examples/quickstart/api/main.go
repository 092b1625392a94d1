// Command api is the small service of the quickstart: an HTTP API that counts
// orders in PostgreSQL, and the worker that runs beside it.
//
//	api              serve HTTP on :8000
//	api worker       write a heartbeat into the database
//	api healthcheck  ask the API in this container whether it is healthy
//
// Settings come from the environment: DATABASE_URL, VERSION, WARMUP, and
// BEHAVIOUR, which makes a bad release on purpose.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const address = ":8000"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatalf("api: %v", err)
	}
}

func run(ctx context.Context, args []string) error {
	verb := "serve"
	if len(args) > 0 {
		verb = args[0]
	}
	switch verb {
	case "serve":
		return serve(ctx)
	case "worker":
		return work(ctx)
	case "healthcheck":
		return healthcheck(ctx)
	}
	return fmt.Errorf("unknown command %q: want worker, healthcheck or none", verb)
}

// healthcheck is the probe Docker runs: an image without a shell has no curl.
func healthcheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+address+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not healthy: %s", resp.Status)
	}
	return nil
}
