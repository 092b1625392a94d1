package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeGitHub is GitHub's API for deployments and statuses, in memory. Its answers
// have the fields that the real one documents; it checks what the real one checks
// as far as it matters here, and can be told to refuse.
type fakeGitHub struct {
	*httptest.Server
	mux *http.ServeMux

	mu          sync.Mutex
	nextID      int64
	deployments []*fakeDeployment
	// commits are the statuses of commits, as "state context description".
	commits []string
	// calls are all requests, as "METHOD path".
	calls []string
	// refuse is asked first: a status other than 0 is the answer.
	refuse func(method, path string) int
	// payloadAsText gives payloads back as strings, as the real one does for some.
	payloadAsText bool
}

type fakeDeployment struct {
	id             int64
	sha, env, task string
	payload        json.RawMessage
	production     bool
	statuses       []fakeStatus // the oldest first
}

type fakeStatus struct {
	State          string `json:"state"`
	LogURL         string `json:"log_url"`
	TargetURL      string `json:"target_url"`
	EnvironmentURL string `json:"environment_url"`
	Description    string `json:"description"`
	AutoInactive   *bool  `json:"auto_inactive,omitempty"`
}

const (
	fakeRepository = "team/shop"
	fakePrefix     = "/api/v3/repos/team/shop"
)

func newFakeGitHub(t *testing.T) *fakeGitHub {
	t.Helper()
	f := &fakeGitHub{nextID: 100}
	mux := http.NewServeMux()
	f.mux = mux
	mux.HandleFunc("GET "+fakePrefix+"/deployments", f.list)
	mux.HandleFunc("POST "+fakePrefix+"/deployments", f.create)
	mux.HandleFunc("GET "+fakePrefix+"/deployments/{id}/statuses", f.statuses)
	mux.HandleFunc("POST "+fakePrefix+"/deployments/{id}/statuses", f.move)
	mux.HandleFunc("POST "+fakePrefix+"/statuses/{sha}", f.commit)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls = append(f.calls, r.Method+" "+strings.TrimPrefix(r.URL.Path, fakePrefix))
		if r.Header.Get("Authorization") != "Bearer ghs_token" {
			refuse(w, http.StatusUnauthorized, "Bad credentials")
			return
		}
		if f.refuse != nil {
			if code := f.refuse(r.Method, r.URL.Path); code != 0 {
				refuse(w, code, "Resource not accessible by integration")
				return
			}
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func refuse(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message, "documentation_url": "https://docs.github.com/rest"})
}

func answer(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value)
}

func (f *fakeGitHub) list(w http.ResponseWriter, r *http.Request) {
	out := []map[string]any{}
	for _, d := range slices.Backward(f.deployments) {
		q := r.URL.Query()
		if matches(q.Get("sha"), d.sha) && matches(q.Get("environment"), d.env) && matches(q.Get("task"), d.task) {
			out = append(out, f.shape(d))
		}
	}
	answer(w, http.StatusOK, out)
}

func matches(want, have string) bool { return want == "" || want == have }

func (f *fakeGitHub) shape(d *fakeDeployment) map[string]any {
	url := fmt.Sprintf("%s%s/deployments/%d", f.URL, fakePrefix, d.id)
	var payload any = d.payload
	if f.payloadAsText {
		payload = string(d.payload)
	}
	return map[string]any{
		"url": url, "id": d.id, "node_id": "DE_kwDO", "task": d.task, "original_environment": d.env, "environment": d.env,
		"description": nil, "created_at": "2026-03-01T09:00:00Z", "updated_at": "2026-03-01T09:00:00Z", "statuses_url": url + "/statuses",
		"repository_url": f.URL + fakePrefix, "creator": map[string]any{"login": "github-actions[bot]", "id": 41898282, "type": "Bot"},
		"sha": d.sha, "ref": d.sha, "payload": payload, "transient_environment": false, "production_environment": d.production,
		"performed_via_github_app": nil,
	}
}

func (f *fakeGitHub) create(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Ref, Task, Environment string
		AutoMerge              *bool           `json:"auto_merge"`
		RequiredContexts       *[]string       `json:"required_contexts"`
		Production             bool            `json:"production_environment"`
		Payload                json.RawMessage `json:"payload"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Ref == "" {
		refuse(w, http.StatusUnprocessableEntity, "Validation Failed")
		return
	}
	if in.AutoMerge == nil || *in.AutoMerge {
		answer(w, http.StatusAccepted, map[string]string{"message": "Auto-merged main into " + in.Ref + " on deployment."})
		return
	}
	if in.RequiredContexts == nil {
		refuse(w, http.StatusConflict, "Conflict: Commit status checks failed for "+in.Ref+".")
		return
	}
	f.nextID++
	d := &fakeDeployment{id: f.nextID, sha: in.Ref, env: in.Environment, task: in.Task, payload: in.Payload, production: in.Production}
	f.deployments = append(f.deployments, d)
	answer(w, http.StatusCreated, f.shape(d))
}

func (f *fakeGitHub) find(r *http.Request) *fakeDeployment {
	for _, d := range f.deployments {
		if fmt.Sprint(d.id) == r.PathValue("id") {
			return d
		}
	}
	return nil
}

func (f *fakeGitHub) statuses(w http.ResponseWriter, r *http.Request) {
	d := f.find(r)
	if d == nil {
		refuse(w, http.StatusNotFound, "Not Found")
		return
	}
	out := []map[string]any{}
	for i, s := range slices.Backward(d.statuses) {
		out = append(out, statusShape(i, s))
	}
	answer(w, http.StatusOK, out)
}

func statusShape(id int, s fakeStatus) map[string]any {
	return map[string]any{
		"id": id + 1, "node_id": "DES_kwDO", "state": s.State, "creator": map[string]any{"login": "github-actions[bot]"},
		"description": s.Description, "environment": "production", "target_url": s.LogURL, "log_url": s.LogURL,
		"environment_url": s.EnvironmentURL, "created_at": "2026-03-01T09:00:00Z", "updated_at": "2026-03-01T09:00:00Z",
	}
}

func (f *fakeGitHub) move(w http.ResponseWriter, r *http.Request) {
	d := f.find(r)
	var s fakeStatus
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil || d == nil || len([]rune(s.Description)) > 140 {
		refuse(w, http.StatusUnprocessableEntity, "Validation Failed")
		return
	}
	d.statuses = append(d.statuses, s)
	answer(w, http.StatusCreated, statusShape(len(d.statuses), s))
}

func (f *fakeGitHub) commit(w http.ResponseWriter, r *http.Request) {
	var in struct{ State, Context, Description string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len([]rune(in.Description)) > 140 {
		refuse(w, http.StatusUnprocessableEntity, "Validation Failed")
		return
	}
	f.commits = append(f.commits, in.State+" "+in.Context+" "+in.Description)
	answer(w, http.StatusCreated, map[string]any{"id": 1, "state": in.State, "context": in.Context, "description": in.Description,
		"url": f.URL + fakePrefix + "/statuses/" + r.PathValue("sha"), "created_at": "2026-03-01T09:00:00Z", "updated_at": "2026-03-01T09:00:00Z"})
}
