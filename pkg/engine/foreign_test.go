package engine

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

// fakeDaemon answers with the same networks and volumes to every question, and counts
// these; an engine never filters more than it was asked to.
type fakeDaemon struct{ asked *int }

func (f fakeDaemon) RoundTrip(r *http.Request) (*http.Response, error) {
	*f.asked++
	body := ""
	switch {
	case strings.HasSuffix(r.URL.Path, "/networks"):
		body = `[{"Name":"legacy","Id":"1","Driver":"bridge"},{"Name":"legacy-2","Id":"2"},{"Name":"shop_kept","Id":"3",
			"Labels":{"com.docker.compose.project":"shop","com.docker.compose.network":"kept","com.docker.compose.config-hash":"own"}}]`
	case strings.HasSuffix(r.URL.Path, "/volumes"):
		body = `{"Volumes":[{"Name":"old_data","Driver":"local","Labels":{"com.docker.compose.project":"old","com.docker.compose.volume":"x",
			"com.docker.compose.config-hash":"theirs"}}]}`
	default:
		return nil, errors.New("nothing else is asked for: " + r.URL.Path)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func TestFindsByNameWhatSomebodyElseMade(t *testing.T) {
	t.Parallel()
	var asked int
	c, err := client.New(client.WithHost("http://engine"), client.WithAPIVersion("1.41"), client.WithHTTPClient(&http.Client{Transport: fakeDaemon{&asked}}))
	require.NoError(t, err)
	e, err := New(c, nil)
	require.NoError(t, err)
	svc := &stack.Service{Networks: []string{"edge", "kept", "none", "theirs"}, Volumes: []string{"data"}}
	s := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{"api": svc}, Project: &types.Project{
		Networks: types.Networks{"edge": {Name: "legacy"}, "kept": {Name: "shop_kept"}, "none": {Name: "shop_none"}, "theirs": {Name: "legacy-2", External: true}},
		Volumes:  types.Volumes{"data": {Name: "old_data"}, "unused": {Name: "shop_unused"}},
	}}
	seen := stack.Observed{Networks: map[string]stack.Resource{"kept": {Key: "kept", Name: "shop_renamed", Hash: "newer"}}, Volumes: map[string]stack.Resource{}}
	require.NoError(t, e.FindForeign(t.Context(), s, seen))
	assert.Equal(t, map[string]stack.Resource{
		"edge": {Key: "edge", Name: "legacy", ID: "1", Driver: "bridge", Foreign: true},
		"kept": {Key: "kept", Name: "shop_kept", ID: "3", Hash: "own", Project: "shop"},
	}, seen.Networks)
	assert.Equal(t, map[string]stack.Resource{
		"data": {Key: "data", Name: "old_data", ID: "old_data", Driver: "local", Project: "old", Foreign: true},
	}, seen.Volumes, "their hash says nothing about our definition")
	assert.Equal(t, 2, asked)

	svc.Networks = []string{"edge", "kept", "theirs"}
	require.NoError(t, e.FindForeign(t.Context(), s, seen))
	assert.Equal(t, 2, asked, "where all is seen nobody is asked")
}
