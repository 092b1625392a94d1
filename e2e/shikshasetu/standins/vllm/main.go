// Command vllm stands in for vLLM where there is no GPU: OpenAI's API on a CPU,
// with answers that say what they are.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const name = "stand-in-for-vllm"

// request is the part of a chat or completion request that is looked at.
type request struct {
	Model    string
	Prompt   string
	Messages []struct{ Role, Content string }
}

var served atomic.Int64

func main() {
	model := flag.String("model", "", "the model to load")
	called := flag.String("served-model-name", "", "the name that it is asked by; by default its own")
	for _, ignored := range []string{"max-model-len", "gpu-memory-utilization"} {
		flag.String(ignored, "", "taken and not used")
	}
	flag.Parse()
	if *model == "" {
		_, _ = fmt.Fprintln(os.Stderr, name+": --model has to be set")
		os.Exit(2)
	}
	if err := server(*model, cmp.Or(*called, *model)).ListenAndServe(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func server(root, model string) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"object": "list", "data": []any{map[string]any{"id": model, "object": "model", "owned_by": name, "root": root}}})
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) { complete(w, r, model, true) })
	mux.HandleFunc("POST /v1/completions", func(w http.ResponseWriter, r *http.Request) { complete(w, r, model, false) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { metrics(w, model) })
	return &http.Server{Addr: ":8000", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
}

func complete(w http.ResponseWriter, r *http.Request, model string, chat bool) {
	var asked request
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if asked.Model != model {
		w.WriteHeader(http.StatusNotFound)
		answer(w, map[string]any{"error": map[string]string{"message": "The model `" + asked.Model + "` does not exist."}})
		return
	}
	text := asked.Prompt
	if n := len(asked.Messages); n > 0 {
		text = asked.Messages[n-1].Content
	}
	served.Add(1)
	choice := map[string]any{"index": 0, "finish_reason": "stop"}
	if chat {
		choice["message"] = map[string]string{"role": "assistant", "content": "[stand-in] " + text}
	} else {
		choice["text"] = "[stand-in] " + text
	}
	answer(w, map[string]any{"id": "stand-in", "model": model, "choices": []any{choice}})
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Stand-In", name)
	_ = json.NewEncoder(w).Encode(value)
}

// metrics has the names of vLLM's that the rules and panels use.
func metrics(w http.ResponseWriter, model string) {
	n := served.Load()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	label := fmt.Sprintf("{model_name=%q}", model)
	_, _ = fmt.Fprintf(w, "stand_in_info 1\nvllm:kv_cache_usage_perc%[1]s 0\nvllm:num_requests_waiting%[1]s 0\n"+
		"vllm:num_requests_running%[1]s 0\nvllm:request_success_total{model_name=%[2]q,finished_reason=\"stop\"} %[3]d\n"+
		"vllm:time_to_first_token_seconds_bucket{model_name=%[2]q,le=\"0.1\"} %[3]d\n"+
		"vllm:time_to_first_token_seconds_bucket{model_name=%[2]q,le=\"+Inf\"} %[3]d\n"+
		"vllm:time_to_first_token_seconds_sum%[1]s 0\nvllm:time_to_first_token_seconds_count%[1]s %[3]d\n", label, model, n)
}
