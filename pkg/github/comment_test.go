package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/report"
)

// fakeComments is the part of GitHub's API about the comments of pull request 7.
type fakeComments struct {
	*fakeGitHub
	list []fakeComment
}

type fakeComment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User struct {
		Login string `json:"login"`
		Type  string `json:"type"`
	} `json:"user"`
}

func (f *fakeComments) handle(mux *http.ServeMux) {
	mux.HandleFunc("GET "+fakePrefix+"/issues/7/comments", func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		from := min(len(f.list), max(page-1, 0)*100)
		to := min(len(f.list), from+100)
		if to < len(f.list) {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=%d>; rel="next"`, f.URL, r.URL.Path, max(page, 1)+1))
		}
		answer(w, http.StatusOK, f.list[from:to])
	})
	mux.HandleFunc("POST "+fakePrefix+"/issues/7/comments", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusCreated, f.add(f.read(r), "github-actions[bot]", "Bot"))
	})
	mux.HandleFunc("PATCH "+fakePrefix+"/issues/comments/{id}", func(w http.ResponseWriter, r *http.Request) {
		for i, c := range f.list {
			if fmt.Sprint(c.ID) == r.PathValue("id") {
				f.list[i].Body = f.read(r)
				answer(w, http.StatusOK, f.list[i])
				return
			}
		}
		refuse(w, http.StatusNotFound, "Not Found")
	})
}

func (f *fakeComments) read(r *http.Request) string {
	var told fakeComment
	_ = json.NewDecoder(r.Body).Decode(&told)
	return told.Body
}

func (f *fakeComments) add(body, login, kind string) fakeComment {
	f.nextID++
	c := fakeComment{ID: f.nextID, Body: body}
	c.User.Login, c.User.Type = login, kind
	f.list = append(f.list, c)
	return c
}

func newFakeComments(t *testing.T) *fakeComments {
	t.Helper()
	f := &fakeComments{fakeGitHub: newFakeGitHub(t)}
	f.handle(f.mux)
	return f
}

func planned(version string) *report.Release {
	r := begun()
	r.Number, r.Version, r.Outcome, r.DryRun, r.Plan = 0, version, "planned", true, "  api  surge 3  image "+version+"\n"
	return r
}

func show(t *testing.T, f *fakeComments, edit func(*Config), r *report.Release) error {
	t.Helper()
	c := config(f.fakeGitHub)
	if edit != nil {
		edit(&c)
	}
	g, err := New(c)
	require.NoError(t, err)
	comment := &Comment{GitHub: g, Number: 7}
	require.NoError(t, comment.Started(t.Context(), r))
	return comment.Finished(t.Context(), r)
}

// However often a pull request is pushed to, it has one plan for each place.
func TestOneCommentThatIsUpdated(t *testing.T) {
	t.Parallel()
	f := newFakeComments(t)
	for i := range 120 {
		f.add(fmt.Sprintf("talk %d", i), "ada", "User")
	}
	f.add("<!-- shiksha plan shop/production -->\nnot ours", "mallory", "User")
	require.NoError(t, show(t, f, nil, planned("v1")))
	require.NoError(t, show(t, f, nil, planned("v2")))
	require.NoError(t, show(t, f, func(c *Config) { c.Environment = "staging" }, planned("v2")))
	require.Len(t, f.list, 123)
	assert.Equal(t, "<!-- shiksha plan shop/production -->\nnot ours", f.list[120].Body, "a stranger's is left alone")
	assert.Contains(t, f.list[121].Body, "image v2")
	assert.NotContains(t, f.list[121].Body, "image v1")
	assert.True(t, strings.HasPrefix(f.list[122].Body, "<!-- shiksha plan shop/staging -->\n## 📋"))

	long := planned("v3")
	long.Plan = strings.Repeat("x", 70_000)
	require.NoError(t, show(t, f, nil, long))
	assert.Less(t, len(f.list[121].Body), 65_536)
	assert.Contains(t, f.list[121].Body, "plan is left out here")
}

// A Compose file that cannot be read has no name. What it came to still takes the place of
// the plan before it, and the next plan its.
func TestAPlanWithoutAName(t *testing.T) {
	t.Parallel()
	nameless := planned("v2")
	nameless.Project, nameless.Plan, nameless.Outcome = "", "", ""
	nameless.Fail(fault.New(fault.Input, "compose.yaml:3", "", "not YAML"))
	f := newFakeComments(t)
	require.NoError(t, show(t, f, nil, planned("v1")))
	require.NoError(t, show(t, f, nil, nameless))
	require.NoError(t, show(t, f, nil, nameless))
	require.Len(t, f.list, 1)
	assert.Contains(t, f.list[0].Body, "bad-input")
	require.NoError(t, show(t, f, nil, planned("v3")))
	require.Len(t, f.list, 1)
	assert.Contains(t, f.list[0].Body, "image v3")
	assert.NotContains(t, f.list[0].Body, "bad-input")

	other := planned("v3")
	other.Project = "blog"
	require.NoError(t, show(t, f, func(c *Config) { c.Environment = "staging" }, nameless))
	require.NoError(t, show(t, f, nil, other))
	require.Len(t, f.list, 3, "one of another environment, one of another project")
	require.NoError(t, show(t, f, nil, nameless))
	require.Len(t, f.list, 4, "nobody knows which of the two it is about")
	require.NoError(t, show(t, f, nil, planned("v4")))
	require.NoError(t, show(t, f, nil, nameless))
	require.Len(t, f.list, 4)
	assert.Contains(t, f.list[0].Body, "image v4")
}

func TestATokenThatMayNotComment(t *testing.T) {
	t.Parallel()
	f := newFakeComments(t)
	f.refuse = func(method, _ string) int {
		if method == http.MethodPost {
			return http.StatusForbidden
		}
		return 0
	}
	err := show(t, f, nil, planned("v1"))
	assert.ErrorContains(t, err, "it is in the job summary")
	assert.ErrorContains(t, err, "permissions: {pull-requests: write}")
}
