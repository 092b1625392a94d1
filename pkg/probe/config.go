package probe

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/shiksha/actions/pkg/fault"
)

var (
	kindName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	method   = regexp.MustCompile(`^[A-Z]+$`)
)

// prepare checks the config, fills the defaults in and makes the lanes.
func (c *Config) prepare() ([]*lane, error) {
	base, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Rate < 1 || c.Rate > MaxRate {
		return nil, fault.New(fault.Input, "probe-rate", "give the requests a second as a whole number, for example 50",
			"%d is not between 1 and %d", c.Rate, MaxRate)
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.ReleaseHeader == "" {
		c.ReleaseHeader = defaultReleaseHeader
	}
	if len(c.Kinds) == 0 {
		c.Kinds = DefaultKinds()
	}
	seen := map[string]bool{}
	var lanes []*lane
	for _, k := range c.Kinds {
		l, err := k.prepare(base)
		if err != nil {
			return nil, err
		}
		if seen[k.Name] {
			return nil, badKind(k, "is there twice")
		}
		seen[k.Name] = true
		lanes = append(lanes, l)
	}
	return lanes, nil
}

func parseURL(raw string) (*url.URL, error) {
	const hint = "give an absolute URL, for example https://shop.example.org/healthz"
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's message repeats the URL, which may hold a password.
		return nil, fault.New(fault.Input, "probe-url", hint, "it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fault.New(fault.Input, "probe-url", hint, "%q does not begin with http:// or https://", u.Redacted())
	case u.Hostname() == "":
		return nil, fault.New(fault.Input, "probe-url", hint, "%q names no host", u.Redacted())
	}
	return u, nil
}

func badKind(k Kind, what string) error {
	return fault.New(fault.Input, "probe", "", "kind of traffic %q %s", k.Name, what)
}

func (k Kind) prepare(base *url.URL) (*lane, error) {
	if k.Method == "" {
		k.Method = http.MethodGet
	}
	ref, err := url.Parse(k.Path)
	switch {
	case !kindName.MatchString(k.Name):
		return nil, badKind(k, "needs a name of lower case letters, digits and -")
	case (k.Weight > 0) == (k.Every > 0) || k.Weight < 0 || k.Every < 0:
		return nil, badKind(k, "needs either a weight or an interval")
	case !method.MatchString(k.Method):
		return nil, badKind(k, "has an unusable method")
	case err != nil || ref.IsAbs() || ref.Host != "":
		return nil, badKind(k, "has an unusable path")
	}
	target := base
	if k.Path != "" {
		target = base.ResolveReference(ref)
		target.User = base.User
	}
	return &lane{Kind: k, url: target, transport: newTransport(k.Fresh)}, nil
}

// newTransport speaks HTTP/1.1 only, as most callers of a gateway do: over one
// HTTP/2 connection neither fresh nor idle connections could be told apart.
func newTransport(fresh bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Protocols:           protocols,
		DialContext:         (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
		DisableKeepAlives:   fresh,
		MaxIdleConns:        0, // no limit: a dropped idle connection is a reset of our own making
		MaxIdleConnsPerHost: 4096,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
}

// limit is how many requests may be under way: all that a server that answers
// none can keep busy, within what one process can open.
func (c *Config) limit() int64 {
	perSecond := float64(c.Rate)
	for _, k := range c.Kinds {
		if k.Every > 0 {
			perSecond += 1 / k.Every.Seconds()
		}
	}
	most := int64(perSecond*c.Timeout.Seconds()*1.1) + 64
	return min(most, 20000)
}
