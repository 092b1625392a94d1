package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// The id is not unique on purpose: an order that was stored twice has to be
// seen, not refused.
const schema = `
CREATE TABLE IF NOT EXISTS orders (id text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS heartbeats (version text NOT NULL, at timestamptz NOT NULL DEFAULT now());`

// orders are the orders in the database.
type orders struct{ db *sql.DB }

// open makes the pool; it connects on first use.
func open(url string) (*orders, error) {
	if url == "" {
		return nil, errors.New("DATABASE_URL is not set")
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	// Six instances while a release rolls, well below PostgreSQL's 100.
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	return &orders{db: db}, nil
}

// Close closes the pool.
func (o *orders) Close() { _ = o.db.Close() }

// prepare makes the tables, and tries again until the database is there. Three
// instances that start at once may get in each other's way; the next try finds
// the tables made.
func (o *orders) prepare(ctx context.Context) error {
	for {
		_, err := o.db.ExecContext(ctx, schema)
		if err == nil {
			return nil
		}
		log.Printf("database: %v", err)
		if !sleep(ctx, 500*time.Millisecond) {
			return ctx.Err()
		}
	}
}

func (o *orders) add(ctx context.Context, id string) error {
	_, err := o.db.ExecContext(ctx, `INSERT INTO orders (id) VALUES ($1)`, id)
	return err
}

func (o *orders) beat(ctx context.Context, version string) error {
	_, err := o.db.ExecContext(ctx, `INSERT INTO heartbeats (version) VALUES ($1)`, version)
	return err
}

func (o *orders) count(ctx context.Context, prefix string) (count, distinct int, err error) {
	err = o.db.QueryRowContext(ctx,
		`SELECT count(*), count(DISTINCT id) FROM orders WHERE starts_with(id, $1)`, prefix).Scan(&count, &distinct)
	return count, distinct, err
}

// list gives the ids with the prefix; an order stored twice is in it twice.
func (o *orders) list(ctx context.Context, prefix string) ([]string, error) {
	rows, err := o.db.QueryContext(ctx, `SELECT id FROM orders WHERE starts_with(id, $1) ORDER BY id`, prefix)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	ids := []string{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
