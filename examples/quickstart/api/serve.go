package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// api is one instance of the service.
type api struct {
	version  string
	instance string
	orders   *orders
	ready    atomic.Bool
	// ending closes when the instance is told to stop: answers that never end
	// by themselves have to be ended, or the instance would be killed.
	ending chan struct{}
}

// serve answers until ctx ends, then finishes the requests it already has.
func serve(ctx context.Context) error {
	instance, err := os.Hostname()
	if err != nil {
		return err
	}
	db, err := open(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close()
	a := &api{version: os.Getenv("VERSION"), instance: instance, orders: db, ending: make(chan struct{})}
	server := &http.Server{Addr: address, Handler: a.routes(), ReadHeaderTimeout: 10 * time.Second}
	server.RegisterOnShutdown(func() { close(a.ending) })

	failed := make(chan error, 2)
	go func() { failed <- server.ListenAndServe() }()
	go func() {
		if err := a.warmUp(ctx); err != nil {
			failed <- err
		}
	}()
	log.Printf("%s serves on %s", a.version, address)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	return finish(server)
}

// finish refuses new connections and waits for the requests in flight.
func finish(server *http.Server) error {
	log.Print("told to stop: finishing what is in flight")
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("requests were still in flight: %w", err)
	}
	return nil
}

// warmUp makes the instance healthy once the database is there and the warm-up
// is over, and then behaves as badly as the release was built to.
func (a *api) warmUp(ctx context.Context) error {
	warmUp, err := duration(os.Getenv("WARMUP"))
	if err != nil {
		return fmt.Errorf("WARMUP: %w", err)
	}
	if err := a.orders.prepare(ctx); err != nil {
		return err
	}
	if !sleep(ctx, warmUp) {
		return nil
	}
	switch behaviour := os.Getenv("BEHAVIOUR"); behaviour {
	case "":
		a.ready.Store(true)
		return nil
	case "never-healthy":
		return nil
	case "dies-late":
		a.ready.Store(true)
		if !sleep(ctx, 3*time.Second) {
			return nil
		}
		return errors.New("this release was built to die")
	default:
		return fmt.Errorf("BEHAVIOUR: %q is not never-healthy or dies-late", behaviour)
	}
}

func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}

// sleep waits and says whether it was allowed to wait to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
