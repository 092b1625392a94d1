package main

import (
	"context"
	"log"
	"os"
	"time"
)

// work writes a heartbeat each second until ctx ends.
func work(ctx context.Context) error {
	db, err := open(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.prepare(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	version := os.Getenv("VERSION")
	log.Printf("worker %s begins", version)
	for sleep(ctx, time.Second) {
		if err := db.beat(ctx, version); err != nil && ctx.Err() == nil {
			log.Printf("database: %v", err)
		}
	}
	log.Print("told to stop: done")
	return nil
}
