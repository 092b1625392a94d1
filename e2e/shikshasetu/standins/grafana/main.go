// Command grafana stands in for Grafana where it cannot be had: it reads the
// provisioning files as Grafana does and answers the panels' queries from the
// running Prometheus. It draws nothing.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v4"
)

const root = "/etc/grafana/provisioning"

type datasource struct {
	Name, UID, Type, URL string
}

// provisioned is what the files say.
type provisioned struct {
	sources    map[string]datasource
	dashboards map[string]json.RawMessage
}

func main() {
	p, err := read(root)
	if err == nil {
		err = server(p).ListenAndServe()
	}
	_, _ = fmt.Fprintln(os.Stderr, "stand-in for grafana:", err)
	os.Exit(1)
}

func read(dir string) (*provisioned, error) {
	p := &provisioned{sources: map[string]datasource{}, dashboards: map[string]json.RawMessage{}}
	var sources struct{ Datasources []datasource }
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := each(filepath.Join(dir, "datasources", "*.yml"), func(b []byte) error { return yaml.Unmarshal(b, &sources) }); err != nil {
		return nil, err
	}
	for _, s := range sources.Datasources {
		p.sources[s.UID] = s
	}
	if err := each(filepath.Join(dir, "dashboards", "*.yml"), func(b []byte) error { return yaml.Unmarshal(b, &providers) }); err != nil {
		return nil, err
	}
	for _, provider := range providers.Providers {
		err := each(filepath.Join(provider.Options.Path, "*.json"), func(b []byte) error {
			var head struct{ UID string }
			err := json.Unmarshal(b, &head)
			p.dashboards[head.UID] = b
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// each reads the files that match; none is an error, as a folder that was not
// mounted has none.
func each(pattern string, take func([]byte) error) error {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("%s: no file (%v)", pattern, err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err == nil {
			err = take(content)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func server(p *provisioned) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"database": "ok", "version": "stand-in", "commit": "stand-in"})
	})
	mux.HandleFunc("GET /api/datasources/uid/{uid}/health", func(w http.ResponseWriter, r *http.Request) {
		if _, err := p.query(r.PathValue("uid"), "vector(1)"); err != nil {
			answer(w, http.StatusBadRequest, map[string]string{"status": "ERROR", "message": err.Error()})
			return
		}
		answer(w, http.StatusOK, map[string]string{"status": "OK", "message": "Successfully queried the Prometheus API."})
	})
	mux.HandleFunc("GET /api/dashboards/uid/{uid}", func(w http.ResponseWriter, r *http.Request) {
		if found, ok := p.dashboards[r.PathValue("uid")]; ok {
			answer(w, http.StatusOK, map[string]any{"dashboard": found, "meta": map[string]any{"provisioned": true}})
			return
		}
		answer(w, http.StatusNotFound, map[string]string{"message": "Dashboard not found"})
	})
	mux.HandleFunc("POST /api/ds/query", p.panels)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "stand_in_info 1\n") })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Stand-In", "grafana")
		_, _ = io.WriteString(w, "a stand-in for Grafana\n")
	})
	return &http.Server{Addr: ":3000", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
}

// panels answers the queries of a panel: one frame for each series.
func (p *provisioned) panels(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Queries []struct {
			RefID, Expr string
			Datasource  struct{ UID string }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": err.Error()})
		return
	}
	results := map[string]any{}
	for _, q := range asked.Queries {
		series, err := p.query(q.Datasource.UID, q.Expr)
		if err != nil {
			results[q.RefID] = map[string]any{"status": http.StatusBadRequest, "error": err.Error(), "frames": []any{}}
			continue
		}
		results[q.RefID] = map[string]any{"status": http.StatusOK, "frames": frames(series)}
	}
	answer(w, http.StatusOK, map[string]any{"results": results})
}

// frames are series as Grafana gives them: a column of times and one of values.
func frames(all []series) []any {
	out := []any{}
	for _, s := range all {
		out = append(out, map[string]any{
			"schema": map[string]any{"fields": []any{
				map[string]any{"name": "Time", "type": "time"}, map[string]any{"name": "Value", "type": "number", "labels": s.Metric},
			}},
			"data": map[string]any{"values": []any{[]any{s.Value[0]}, []any{s.Value[1]}}},
		})
	}
	return out
}

// series is one of an instant query: when, and what.
type series struct {
	Metric map[string]string
	Value  [2]any
}

// query asks the datasource and gives its series.
func (p *provisioned) query(uid, expr string) ([]series, error) {
	source, ok := p.sources[uid]
	if !ok {
		return nil, fmt.Errorf("no datasource %q", uid)
	}
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(source.URL + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var told struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil {
		return nil, err
	}
	if told.Status != "success" {
		return nil, fmt.Errorf("%s: %s", told.Status, told.Error)
	}
	return told.Data.Result, nil
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Stand-In", "grafana")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}
