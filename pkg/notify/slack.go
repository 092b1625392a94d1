package notify

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slackutilsx"

	"github.com/shiksha/actions/pkg/report"
)

// Slack tells a channel when a release starts and how it ended. With a bot's
// token the end stands in the thread of the start; a webhook knows no threads.
type Slack struct {
	// Webhook is an incoming webhook's address. Token and Channel win over it.
	Webhook        string
	Token, Channel string
	// HTTP has timeouts and retries.
	HTTP *http.Client

	// api is where Slack's API is, "" for Slack itself.
	api string
	// channel and thread are where the start was told.
	channel, thread string
}

// Started tells that a release has begun.
func (s *Slack) Started(ctx context.Context, r *report.Release) error {
	return s.tell(ctx, "🚀 "+title(r), r, false)
}

// Finished tells what came of it. That there was nothing to do is no news.
func (s *Slack) Finished(ctx context.Context, r *report.Release) error {
	if r.Outcome == "unchanged" {
		return nil
	}
	return s.tell(ctx, r.Sign()+" "+title(r), r, r.Outcome != "verified")
}

// title says what of which project; what ended early has none.
func title(r *report.Release) string {
	if r.Project == "" {
		return r.Sentence()
	}
	return r.Project + ": " + r.Sentence()
}

// tell posts one message. A loud one is seen in the channel too, not only in the
// thread.
func (s *Slack) tell(ctx context.Context, title string, r *report.Release, loud bool) error {
	blocks := blocks(title, r)
	if s.Token == "" {
		message := &slack.WebhookMessage{Text: escape(title), Blocks: &slack.Blocks{BlockSet: blocks}}
		return failed(slack.PostWebhookCustomHTTPContext(ctx, s.Webhook, s.HTTP, message))
	}
	options := []slack.Option{slack.OptionHTTPClient(s.HTTP)}
	if s.api != "" {
		options = append(options, slack.OptionAPIURL(s.api))
	}
	message := []slack.MsgOption{slack.MsgOptionText(escape(title), false), slack.MsgOptionBlocks(blocks...),
		slack.MsgOptionDisableLinkUnfurl()}
	channel := s.Channel
	if s.thread != "" {
		channel = s.channel
		message = append(message, slack.MsgOptionTS(s.thread))
		if loud {
			message = append(message, slack.MsgOptionBroadcast())
		}
	}
	channel, stamp, err := slack.New(s.Token, options...).PostMessageContext(ctx, channel, message...)
	if err == nil && s.thread == "" {
		s.channel, s.thread = channel, stamp
	}
	return failed(err)
}

func failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("Slack was not told: %w", withoutAddress(err))
}

const (
	// maxHeader and maxText are how many characters Slack takes in a header and in
	// a section; of longer ones it refuses the whole message.
	maxHeader = 150
	maxText   = 2900
)

// blocks is a message: what, then the facts, the error, the links.
func blocks(title string, r *report.Release) []slack.Block {
	out := []slack.Block{slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, cut(title, maxHeader), true, false))}
	var fields []*slack.TextBlockObject
	for _, f := range facts(r) {
		fields = append(fields, markdown("*"+f[0]+"*\n"+escape(cut(f[1], 500))))
	}
	if len(fields) > 0 {
		out = append(out, slack.NewSectionBlock(nil, fields, nil))
	}
	if r.Error != "" {
		text := "*Why* " + escape(cut(r.Error, maxText/2))
		if r.Hint != "" {
			text += "\n*Next* " + escape(cut(r.Hint, maxText/4))
		}
		out = append(out, slack.NewSectionBlock(markdown(cut(text, maxText)), nil, nil))
	}
	if l := links(r); l != "" {
		out = append(out, slack.NewContextBlock("", markdown(l)))
	}
	return out
}

// facts are at most the ten that Slack takes.
func facts(r *report.Release) [][2]string {
	all := [][2]string{
		{"From", r.Before()}, {"To", r.Label()}, {"By", r.Actor}, {"Where", strings.TrimPrefix(r.Environment+" · "+r.Host, " · ")},
		{"Services", strings.Join(r.Changed, ", ")}, {"Took", r.Took()}, {"Checks", r.Checked()}, {"Users saw", r.Probe.Text()},
		{"Serving", report.Brief(r.Serving)},
	}
	if r.Outcome == "" {
		all = all[:5]
	}
	var out [][2]string
	for _, f := range all {
		if strings.Trim(f[1], " ·") != "" {
			out = append(out, f)
		}
	}
	return out
}

func links(r *report.Release) string {
	var out []string
	for _, l := range r.Links() {
		out = append(out, "<"+strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C", "&", "&amp;").Replace(l.URL)+"|"+escape(l.Text)+">")
	}
	return strings.Join(out, " · ")
}

func markdown(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.MarkdownType, text, false, false)
}

// escape makes a text mean itself in Slack: no mention, no link.
func escape(text string) string { return slackutilsx.EscapeMessage(text) }

// cut shortens a text to a number of characters.
func cut(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-3]) + "..."
}
