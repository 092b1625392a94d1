package notify

import (
	"context"
	"fmt"
	"net/http"

	"github.com/shiksha/actions/pkg/report"
)

// events is where PagerDuty takes events (Events API v2).
const events = "https://events.pagerduty.com/v2/enqueue"

// PagerDuty calls a person to a release in production that failed and could not
// go back.
type PagerDuty struct {
	// RoutingKey is the integration key of the service.
	RoutingKey string
	// HTTP has timeouts and retries.
	HTTP *http.Client

	// url is where events go, "" for PagerDuty itself.
	url string
}

// Started tells nothing.
func (*PagerDuty) Started(context.Context, *report.Release) error { return nil }

// Finished triggers an incident where one is called for. Somebody who gives a
// routing key but names no environment has only one. That nobody is called for the
// name's sake is said: what users depend on may have any name.
func (p *PagerDuty) Finished(ctx context.Context, r *report.Release) error {
	if r.Outcome != "stuck" {
		return nil
	}
	if r.Environment != "" && !report.Production(r.Environment) {
		return fmt.Errorf("PagerDuty was not called: by its name the environment %s is not production (one that is begins with prod, not with product, or has a word prod, production, prd or live); call somebody where users depend on it", r.Environment)
	}
	address := p.url
	if address == "" {
		address = events
	}
	if err := post(ctx, p.HTTP, address, nil, p.incident(r)); err != nil {
		return fmt.Errorf("PagerDuty was not told: %w", err)
	}
	return nil
}

// incident is one per release: telling it twice makes no second one.
func (p *PagerDuty) incident(r *report.Release) map[string]any {
	links := []map[string]string{}
	for _, l := range r.Links() {
		links = append(links, map[string]string{"href": l.URL, "text": l.Text})
	}
	event := map[string]any{
		"routing_key": p.RoutingKey, "event_action": "trigger", "client": "shiksha", "links": links,
		"dedup_key": cut(fmt.Sprintf("shiksha/%s/%s/%d", r.Host, r.Project, r.Number), 255),
		"payload": map[string]any{
			"summary": cut(r.Headline()+", and it could not go back: "+r.Error, 1024), "source": r.Host, "severity": "critical",
			"component": r.Project, "group": r.Environment, "class": "release",
			"custom_details": map[string]any{"error": r.Error, "next": r.Hint, "version": r.Version, "by": r.Actor, "changed": r.Changed, "before": r.Before()},
		},
	}
	if r.RunURL != "" {
		event["client_url"] = r.RunURL
	}
	return event
}
