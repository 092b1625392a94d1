package notify

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/shiksha/actions/pkg/report"
)

// Grafana marks a release in the graphs, from its start to its end.
type Grafana struct {
	// URL is where Grafana is, Token one of a service account that may write
	// annotations.
	URL, Token string
	// HTTP has timeouts and retries.
	HTTP *http.Client
}

// Started tells nothing: a mark has both ends.
func (*Grafana) Started(context.Context, *report.Release) error { return nil }

// Finished marks a release that changed something.
func (g *Grafana) Finished(ctx context.Context, r *report.Release) error {
	if r.Number == 0 || r.Outcome == "unchanged" || r.Started.IsZero() {
		return nil
	}
	text := html.EscapeString(r.Headline())
	for _, l := range r.Links() {
		text += fmt.Sprintf("\n<a href=\"%s\">%s</a>", html.EscapeString(l.URL), html.EscapeString(l.Text))
	}
	tags := []string{"shiksha", "release", "project:" + r.Project, "outcome:" + r.Outcome}
	if r.Environment != "" {
		tags = append(tags, "environment:"+r.Environment)
	}
	began := r.Started.UnixMilli()
	err := post(ctx, g.HTTP, strings.TrimRight(g.URL, "/")+"/api/annotations", http.Header{"Authorization": {"Bearer " + g.Token}},
		map[string]any{"time": began, "timeEnd": began + int64(r.Seconds*1000), "tags": tags, "text": text})
	if err != nil {
		return fmt.Errorf("Grafana was not told: %w", err)
	}
	return nil
}
