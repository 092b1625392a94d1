package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/shiksha/actions/pkg/probe"
)

// loadRate is the requests a second of the load, the slow ones apart.
const loadRate = 220

// Load is the load of the demo and of the tests on a running quickstart: half
// GETs over kept connections, a quarter over fresh ones, a quarter POSTs with
// ids of their own over kept connections, and each second one request that takes
// three.
type Load struct {
	url   string
	probe *probe.Probe
}

// LoadReport is what the load saw, and what became of its orders.
type LoadReport struct {
	probe.Report
	// PostsSent went out. PostsLost were acknowledged and are not in the database;
	// PostsDoubled are there more than once.
	PostsSent, PostsLost, PostsDoubled int
}

// StartLoad starts the load on the quickstart behind url
// ("http://127.0.0.1:8080").
func StartLoad(ctx context.Context, url string) (*Load, error) {
	p, err := probe.Start(ctx, probe.Config{URL: url, Rate: loadRate, Timeout: 10 * time.Second, Kinds: []probe.Kind{
		{Name: "get", Weight: 2, Path: "/"},
		{Name: "fresh", Weight: 1, Path: "/", Fresh: true},
		{
			Name: "post", Weight: 1, Method: http.MethodPost, Path: "/orders", ContentType: "application/json",
			Body: func(id string) []byte { return fmt.Appendf(nil, `{"id":%q}`, id) },
		},
		{Name: "slow", Every: time.Second, Path: "/slow?ms=3000", Slow: true},
	}})
	if err != nil {
		return nil, err
	}
	return &Load{url: url, probe: p}, nil
}

// Mark begins a phase of the report (probe.Before is the first).
func (l *Load) Mark(phase string) { l.probe.Mark(phase) }

// Stop ends the load, waits for the requests under way and counts the orders in
// the database.
func (l *Load) Stop(ctx context.Context) (LoadReport, error) {
	report := LoadReport{Report: l.probe.Stop()}
	ids := l.probe.IDs()
	// Lost until they are seen: what could not be counted must not pass.
	report.PostsSent, report.PostsLost = ids.Sent, ids.Acknowledged
	stored, err := l.orders(ctx, ids.Run+"-")
	if err != nil {
		return report, fmt.Errorf("counting the orders: %w", err)
	}
	report.PostsLost, report.PostsDoubled = account(ids, stored)
	return report, nil
}

// account compares what was acknowledged with what is stored. An order whose
// answer never came may be there or not.
func account(ids probe.IDs, stored []string) (lost, doubled int) {
	times := map[string]int{}
	for _, id := range stored {
		times[id]++
	}
	doubled = len(stored) - len(times)
	for _, id := range ids.Unknown {
		delete(times, id)
	}
	return max(0, ids.Acknowledged-len(times)), doubled
}

func (l *Load) orders(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/orders?prefix="+url.QueryEscape(prefix), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", req.URL, resp.Status)
	}
	var ids []string
	return ids, json.NewDecoder(resp.Body).Decode(&ids)
}

// Serving is the version that answers users at url, empty when nobody does.
func Serving(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	// A connection of its own: a kept one could still lead to an old worker.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	return resp.Header.Get("X-Release")
}
