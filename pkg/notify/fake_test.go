package notify

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// fakeSlack is Slack's chat.postMessage and an incoming webhook. It refuses what
// Slack refuses: unknown channels, blocks that are too long.
type fakeSlack struct {
	*httptest.Server
	mu       sync.Mutex
	messages []slackMessage
}

type slackMessage struct {
	text, channel, thread string
	broadcast, webhook    bool
	blocks                string
}

type fakeBlock struct {
	Type   string
	Text   *struct{ Type, Text string }
	Fields []struct{ Type, Text string }
}

func newFakeSlack(t *testing.T) *fakeSlack {
	t.Helper()
	f := &fakeSlack{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/chat.postMessage", f.post)
	mux.HandleFunc("POST /services/T0/B0/secret", f.hook)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeSlack) post(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	// Slack takes the token as a header or as a field of the form.
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + form.Get("token")
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch {
	case token != "xoxb-token":
		_, _ = io.WriteString(w, `{"ok":false,"error":"invalid_auth"}`)
	case form.Get("channel") != "#releases" && form.Get("channel") != "C024BE91L":
		_, _ = io.WriteString(w, `{"ok":false,"error":"channel_not_found"}`)
	case !fits(form.Get("blocks")):
		_, _ = io.WriteString(w, `{"ok":false,"error":"invalid_blocks"}`)
	default:
		f.messages = append(f.messages, slackMessage{text: form.Get("text"), channel: form.Get("channel"), thread: form.Get("thread_ts"),
			broadcast: form.Get("reply_broadcast") == "true", blocks: form.Get("blocks")})
		_, _ = fmt.Fprintf(w, `{"ok":true,"channel":"C024BE91L","ts":"150310%d.000247","message":{"type":"message","text":"x"}}`, len(f.messages))
	}
}

func (f *fakeSlack) hook(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct {
		Text   string
		Blocks json.RawMessage
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || !fits(string(in.Blocks)) {
		http.Error(w, "invalid_blocks", http.StatusBadRequest)
		return
	}
	f.messages = append(f.messages, slackMessage{text: in.Text, webhook: true, blocks: string(in.Blocks)})
	_, _ = io.WriteString(w, "ok")
}

// fits tells whether Slack would take the blocks.
func fits(text string) bool {
	var blocks []fakeBlock
	if json.Unmarshal([]byte(text), &blocks) != nil || len(blocks) == 0 || len(blocks) > 50 {
		return false
	}
	for _, b := range blocks {
		limit := 3000
		if b.Type == "header" {
			limit = 150
		}
		if b.Text != nil && len([]rune(b.Text.Text)) > limit || len(b.Fields) > 10 {
			return false
		}
		for _, field := range b.Fields {
			if n := len([]rune(field.Text)); n == 0 || n > 2000 {
				return false
			}
		}
	}
	return true
}

// fakeReceiver takes JSON and answers with a status.
type fakeReceiver struct {
	*httptest.Server
	status int
	said   string
	got    []map[string]any
	header http.Header
	path   string
}

func newFakeReceiver(t *testing.T, status int, said string) *fakeReceiver {
	t.Helper()
	f := &fakeReceiver{status: status, said: said}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if json.NewDecoder(r.Body).Decode(&in) == nil {
			f.got, f.header, f.path = append(f.got, in), r.Header, r.URL.Path
		}
		w.WriteHeader(f.status)
		_, _ = io.WriteString(w, f.said)
	}))
	t.Cleanup(f.Close)
	return f
}
