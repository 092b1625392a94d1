package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.hello)
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /slow", a.slow)
	mux.HandleFunc("GET /stream", a.stream)
	mux.HandleFunc("POST /orders", a.order)
	mux.HandleFunc("GET /orders", a.list)
	mux.HandleFunc("GET /orders/count", a.count)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Release", a.version)
		w.Header().Set("X-Instance", a.instance)
		mux.ServeHTTP(w, r)
	})
}

func (a *api) hello(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"version": a.version, "instance": a.instance})
}

func (a *api) healthz(w http.ResponseWriter, _ *http.Request) {
	if !a.ready.Load() {
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": "starting"})
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "healthy"})
}

// slow answers after ?ms= milliseconds: the request a careless stop would cut.
func (a *api) slow(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
	if err != nil || ms < 0 || ms > 60_000 {
		ms = 3000
	}
	if sleep(r.Context(), time.Duration(ms)*time.Millisecond) {
		a.hello(w, r)
	}
}

// stream sends an event each second and never ends by itself.
func (a *api) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", n, a.version); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-a.ending:
			return
		case <-tick.C:
		}
	}
}

// order stores the order whose id is the header X-Order-Id or the body's "id".
func (a *api) order(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Order-Id")
	if id == "" {
		var body struct {
			ID string `json:"id"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body); err != nil || body.ID == "" {
			answer(w, http.StatusBadRequest, map[string]string{"error": "no order id: send X-Order-Id, or {\"id\": \"...\"}"})
			return
		}
		id = body.ID
	}
	if err := a.orders.add(r.Context(), id); err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusCreated, map[string]string{"id": id, "version": a.version})
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	ids, err := a.orders.list(r.Context(), r.URL.Query().Get("prefix"))
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, ids)
}

func (a *api) count(w http.ResponseWriter, r *http.Request) {
	count, distinct, err := a.orders.count(r.Context(), r.URL.Query().Get("prefix"))
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]int{"count": count, "distinct": distinct})
}

func fail(w http.ResponseWriter, err error) {
	answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client went away: there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
