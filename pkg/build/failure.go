package build

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/shiksha/actions/pkg/fault"
)

// lastLines is how much of a failed step's output an error repeats.
const lastLines = 8

// explain makes of BuildKit's error one that names the instruction, its place, its
// last words and what to do.
func (r *run) explain(ctx context.Context, err error, p *progress) error {
	show, failure := r.read(ctx, err, p)
	show()
	return failure
}

// failed is explain for a failure that may pass: then it is told how long to wait, and
// nothing is shown beside the lines of a Dockerfile, since the build may yet go well.
func (r *run) failed(ctx context.Context, err error, p *progress, try int) (wait time.Duration, again bool, failure error) {
	show, failure := r.read(ctx, err, p)
	if wait, again = r.again(ctx, err, try); !again {
		show()
	}
	return wait, again, failure
}

// read makes the error that explain gives, and what shows it at its line.
func (r *run) read(ctx context.Context, err error, p *progress) (show func(), failure error) {
	show = func() {}
	if ctx.Err() != nil {
		return show, fault.New(fault.Interrupted, "", "run it again: what was built is in the builder's cache", "the build was cancelled")
	}
	if r.gone(ctx) || isGone(err) {
		return show, fault.New(fault.Failed, "builder", "look at the builder's own log (memory, disk), start it again and run this again",
			"%s went away while it built: %s", r.builder.node.Name, plain(err))
	}
	id := ""
	var vertex *errdefs.VertexError
	if errors.As(err, &vertex) {
		id = vertex.Digest
	}
	st := p.failed(id)
	t := r.targetOf(st, err)
	line := 0
	if sources := errdefs.Sources(err); len(sources) > 0 {
		line = firstLine(sources[0].Ranges)
	}
	text := plain(err)
	hint := hintFor(text)
	if hint == "" && st != nil {
		hint = machineHint(strings.Join(st.tail(lastLines), "\n"))
	}
	if t == nil {
		return show, fault.New(fault.Failed, "", hint, "%s", text)
	}
	where := t.name
	if line > 0 {
		where += ": " + t.at(line)
	}
	if st != nil && st.counted() {
		text = fmt.Sprintf("`%s` failed: %s", st.title(), reason(text))
	}
	if shown := text; line > 0 {
		show = func() { r.annotate(t, line, shown) }
	}
	if st != nil {
		for _, l := range st.tail(lastLines) {
			text += "\n  | " + l
		}
	}
	return show, fault.New(fault.Failed, where, hint, "%s", text)
}

// targetOf is the target that an error is about.
func (r *run) targetOf(st *step, err error) *target {
	for _, t := range r.plan.targets {
		if st != nil && st.target == t.name || len(r.plan.targets) == 1 || strings.HasPrefix(err.Error(), "target "+t.name+":") {
			return t
		}
	}
	return nil
}

var (
	layers  = regexp.MustCompile(`^(?:target [^:]+: )?(?:failed to solve: )?(?:rpc error: code = \w+ desc = )?`)
	exitOf  = regexp.MustCompile(`did not complete successfully: (.*)$`)
	refused = regexp.MustCompile(`(?i)\b(401|403)\b|unauthorized|denied|insufficient_scope|authorization failed`)
	busyOf  = regexp.MustCompile(`(?i)\b(429|50[0234])\b|toomanyrequests|too many requests|internal server error|bad gateway|service unavailable|connection reset|TLS handshake timeout|i/o timeout`)
	full    = regexp.MustCompile(`(?i)no space left on device`)
	missing = regexp.MustCompile(`failed to resolve source metadata for (\S+?):? `)
	// absent is a file of the context that is not there; it may be called 403.html.
	absent = regexp.MustCompile(`failed to calculate checksum of ref .*"[^"]*": not found`)
)

// plain is an error without the layers it came through.
func plain(err error) string {
	text := err.Error()
	for {
		less := layers.ReplaceAllString(text, "")
		if less == text {
			return strings.TrimSpace(text)
		}
		text = less
	}
}

// reason is what is left when the instruction has been named.
func reason(text string) string {
	if m := exitOf.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return text
}

// hintFor says what to do about an error.
func hintFor(text string) string {
	if strings.Contains(text, notTaken) {
		return "look at the engine's disk (`docker system df`) and its log; what it had under this name is still there"
	}
	if hint := machineHint(text); hint != "" {
		return hint
	}
	switch {
	case absent.MatchString(text):
		return ""
	case missing.MatchString(text) && refused.MatchString(text):
		return "either the image in FROM does not exist, or it needs a login: see registry, registry-username and registry-password"
	case missing.MatchString(text):
		return "the image in FROM cannot be had: look at its name and tag"
	case refused.MatchString(text):
		return "look at registry, registry-username and registry-password. For ghcr.io with the workflow's token, the job needs `permissions: packages: write`"
	case busyOf.MatchString(text):
		return "the registry does not take it at the moment: run it again later, everything that was built is cached"
	case strings.Contains(text, "multiple platforms feature is currently not supported"):
		return "this builder builds for one platform at a time: name another one in builder, or one platform in platforms"
	case strings.Contains(text, "is not allowed by build daemon configuration"):
		return "name a BuildKit in builder that was started with --allow-insecure-entitlement, or take the entitlement away"
	case strings.Contains(text, "dockerfile parse error"):
		return "see https://docs.docker.com/reference/dockerfile/"
	}
	return ""
}

// machineHint says what to do where the builder's machine lacks something. A
// program of the build may be the one that says so; of other things that one says,
// like a 403, nobody here knows what it is about.
func machineHint(text string) string {
	switch {
	case strings.Contains(text, "exec format error"):
		return "the builder cannot run programs of that platform. Add the emulator to its machine: docker/setup-qemu-action in the workflow, " +
			"`docker run --privileged --rm tonistiigi/binfmt --install all`, or Debian's packages qemu-user-static and binfmt-support"
	case full.MatchString(text):
		return "the builder's disk is full: remove its old cache (`docker buildx prune`, `buildctl prune`) or give it a larger disk"
	}
	return ""
}

// isGone tells an error of a connection that broke.
func isGone(err error) bool {
	text := err.Error()
	if busyOf.MatchString(text) && strings.Contains(text, "://") {
		return false // the registry's connection, not ours
	}
	return grpcerrors.Code(err) == codes.Unavailable || strings.Contains(text, "error reading from server") ||
		strings.Contains(text, "transport is closing") || strings.Contains(text, "no active session")
}

// gone asks the builder whether it is still there.
func (r *run) gone(ctx context.Context) bool {
	if r.builder == nil || ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	bk, err := r.builder.node.Driver.Client(ctx)
	if err != nil {
		return true
	}
	_, err = bk.ListWorkers(ctx)
	return err != nil
}

// again tells whether a failure is a registry's that may pass, and how long to
// wait: as long as it says itself, up to a minute.
func (r *run) again(ctx context.Context, err error, try int) (time.Duration, bool) {
	if ctx.Err() != nil || try >= tries || !busyOf.MatchString(err.Error()) || absent.MatchString(err.Error()) || r.gone(ctx) {
		return 0, false
	}
	var vertex *errdefs.SolveError
	if errors.As(err, &vertex) && vertex.Solve.Op.GetExec() != nil {
		return 0, false // a program of the build said so, not the registry
	}
	wait := time.Second << try
	if said := r.retryAfter(ctx); said > 0 {
		wait = min(said, time.Minute)
	}
	return wait, true
}

// retryAfter asks the registries how long they want to be left alone; 0 when none
// says so. A registry that is busy with pushes may answer everything else: where
// one pushes, the question is the beginning of a push, given up at once.
func (r *run) retryAfter(ctx context.Context) time.Duration {
	for _, t := range r.plan.targets {
		if len(t.tags) == 0 {
			continue
		}
		ref, err := name.ParseReference(t.tags[0])
		if err != nil {
			continue
		}
		heard := newListener(ctx)
		_, _ = remote.Head(ref, append(r.registry(ctx, ref), remote.WithTransport(heard), remote.WithRetryStatusCodes(),
			remote.WithRetryBackoff(remote.Backoff{Steps: 1}))...)
		if heard.wait.Load() == 0 && r.o.Push {
			_ = remote.CheckPushPermission(ref, keychain{r, ref}, heard)
		}
		if wait := heard.wait.Load(); wait > 0 {
			return time.Duration(wait)
		}
	}
	return 0
}

// keychain gives the login for a registry to who asks in this form.
type keychain struct {
	r   *run
	ref name.Reference
}

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	if auth, ok := k.r.login(k.ref); ok {
		return auth, nil
	}
	return authn.Anonymous, nil
}

// listener hears Retry-After on its way, for as long as ctx lasts.
type listener struct {
	ctx  context.Context
	base *http.Transport
	wait atomic.Int64 // a time.Duration
}

func newListener(ctx context.Context) *listener {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout, base.DisableKeepAlives = patience, true
	return &listener{ctx: ctx, base: base}
}

func (l *listener) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.base.RoundTrip(req.WithContext(l.ctx))
	if err == nil {
		if wait := wanted(resp.Header.Get("Retry-After"), time.Now()); wait > 0 {
			l.wait.Store(int64(wait))
		}
	}
	return resp, err
}

// wanted reads a Retry-After: seconds, or a moment.
func wanted(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return at.Sub(now)
	}
	return 0
}
