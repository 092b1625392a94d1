package kind

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// HTTP asks a server over HTTP and looks at all of the answer.
type HTTP struct {
	Request `yaml:",inline"`
	Expect  HTTPExpect         `yaml:"expect" help:"What the answer has to be. Default: status 2xx."`
	Capture map[string]Pattern `yaml:"capture" help:"Regular expressions on the body; what their first group matches is {{name}} in later parts of the same check."`
	Repeat  int                `yaml:"repeat" jsonschema:"exclusiveMinimum=0" help:"How many requests to send in one look, each on a connection of its own. Default: 1."`
}

// Request is what is asked, and of whom.
type Request struct {
	Server  `yaml:",inline"`
	URL     string            `yaml:"url" help:"Address to ask, instead of service and port. Without both, path is asked of the input url."`
	Scheme  string            `yaml:"scheme" jsonschema:"enum=http,enum=https" help:"Scheme for units of a service. Default: http."`
	Path    string            `yaml:"path" help:"Path and query. Default: that of url, else /."`
	Method  string            `yaml:"method" jsonschema:"enum=GET,enum=HEAD,enum=POST,enum=PUT,enum=PATCH,enum=DELETE,enum=OPTIONS" help:"Default: GET."`
	Headers map[string]Header `yaml:"headers" help:"Headers to send. A secret one is {env: NAME, service: api, prefix: 'Bearer '}."`
	Body    string            `yaml:"body" help:"Body to send."`
	Host    string            `yaml:"host" help:"Host name to ask for, if it differs from the address."`
	CA      string            `yaml:"ca" help:"Certificates (PEM) of the authority to trust instead of the system's."`
}

// HTTPExpect is what an answer has to be.
type HTTPExpect struct {
	Status   Statuses         `yaml:"status" help:"Status: 200, 2xx, or a list."`
	Headers  map[string]Match `yaml:"headers" help:"What headers have to be."`
	Body     Match            `yaml:"body" help:"What the body has to be."`
	JSON     map[string]Match `yaml:"json" help:"What values of the JSON body have to be, by their path as GJSON writes it (database.status, data.#.id)."`
	Latency  Duration         `yaml:"latency" help:"Longest time to the end of one answer."`
	P95      Duration         `yaml:"p95" help:"Longest time for 95 of 100 answers; with repeat."`
	Distinct *Distinct        `yaml:"distinct" help:"How many different values have to be seen; with repeat: how many units answer behind a gateway."`
}

// Distinct counts the different values of a header or of a JSON value.
type Distinct struct {
	Header string `yaml:"header" help:"Header to look at."`
	JSON   string `yaml:"json" help:"Path in the JSON body to look at."`
	Count  int    `yaml:"count" jsonschema:"required" help:"How many there have to be."`
}

// Manner is how it is looked at.
func (h *HTTP) Manner() Manner { return brisk(h.place()) }

func (h *Request) place() string {
	if h.Service != "" || h.From == OnHost {
		return OnHost
	}
	return OnRunner
}

// Check tells what cannot be asked, and what no answers can be.
func (h *HTTP) Check() error {
	if err := h.Request.Check(); err != nil {
		return err
	}
	d := h.Expect.Distinct
	switch {
	case d == nil:
		return nil
	case (d.Header == "") == (d.JSON == ""):
		return fmt.Errorf("distinct needs either header or json")
	case d.Count < 1 || d.Count > max(1, h.Repeat):
		return fmt.Errorf("has a count of %d for distinct, and it has to be from 1 to what repeat says: %d", d.Count, max(1, h.Repeat))
	}
	return nil
}

// Check tells what cannot be asked.
func (h *Request) Check() error {
	switch {
	case h.URL != "" && h.Service != "":
		return fmt.Errorf("has url and service: name one of them")
	case h.Service != "" && h.Port == 0:
		return fmt.Errorf("needs port, the one that %s listens on", h.Service)
	case h.URL == "" && h.Service == "" && h.Path == "":
		return fmt.Errorf("needs url, or service and port, or path")
	case h.URL != "" && !strings.Contains(h.URL, "{{") && !validURL(h.URL):
		return fmt.Errorf("url is not an address of http or https")
	}
	if err := unsent(h.Headers); err != nil {
		return err
	}
	_, err := roots(h.CA)
	return err
}

func validURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// Look asks every endpoint.
func (h *HTTP) Look(s *Sight) {
	base, endpoints, err := h.endpoints(s)
	if err != nil {
		s.blind(err)
		return
	}
	config, err := h.tls(s, base)
	if err != nil {
		s.blind(err)
		return
	}
	for _, e := range endpoints {
		s.at(e.name)
		h.ask(s, e, base, config)
	}
}

// endpoints gives what is asked, and the address as the request names it.
func (h *Request) endpoints(s *Sight) (*url.URL, []endpoint, error) {
	path, err := s.expand(h.Path)
	if err != nil {
		return nil, nil, err
	}
	if h.Service != "" {
		list, err := h.units(s, h.Port)
		if err != nil {
			return nil, nil, err
		}
		u, err := url.Parse(cmp.Or(h.Scheme, "http") + "://" + cmp.Or(h.Host, list[0].addr) + "/" + strings.TrimPrefix(path, "/"))
		return u, list, err
	}
	text := cmp.Or(h.URL, s.URL)
	if text == "" {
		return nil, nil, fmt.Errorf("no url is given to ask %s of: set the input url", path)
	}
	if text, err = s.expand(text); err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, nil, fmt.Errorf("the url is not an address")
	}
	if password, ok := u.User.Password(); ok {
		s.Hide(password)
	}
	if path != "" {
		ref, err := url.Parse(strings.TrimRight(u.Path, "/") + "/" + strings.TrimPrefix(path, "/"))
		if err != nil {
			return nil, nil, err
		}
		u.Path, u.RawPath, u.RawQuery = ref.Path, ref.RawPath, ref.RawQuery
	}
	return u, []endpoint{h.address(s, hostPort(u))}, nil
}

// hostPort is where the server of an address listens.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (h *Request) tls(s *Sight, base *url.URL) (*tls.Config, error) {
	pool, err := roots(h.CA)
	return &tls.Config{RootCAs: pool, ServerName: cmp.Or(hostname(h.Host), base.Hostname())}, err
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// ask sends the requests to one endpoint and compares.
func (h *HTTP) ask(s *Sight, e endpoint, base *url.URL, config *tls.Config) {
	client := e.client(config)
	var answers []*answer
	for range max(1, h.Repeat) {
		request, err := h.request(s, base)
		if err != nil {
			s.blind(err)
			return
		}
		probe := request.Method + " " + base.Redacted()
		if h.Service != "" {
			probe += " at " + e.addr
		}
		a, err := do(client, request)
		if err != nil {
			s.saw(probe, plain(err))
			s.absent("http.answer", err, "an answer")
			return
		}
		s.conceal(h.Capture, a.body)
		s.saw(probe, fmt.Sprintf("%d in %s: %s", a.status, a.latency.Round(time.Millisecond), a.body))
		answers = append(answers, a)
		if h.compare(s, a); s.Finding.Outcome != "pass" {
			return
		}
	}
	h.compareAll(s, answers)
}

func (h *Request) request(s *Sight, base *url.URL) (*http.Request, error) {
	body, err := s.expand(h.Body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(s.Ctx, cmp.Or(h.Method, http.MethodGet), base.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Close = true
	request.Header.Set("User-Agent", "shiksha-verify")
	for _, name := range sorted(h.Headers) {
		value, err := h.Headers[name].value(s, name, h.Service)
		if err != nil {
			return nil, err
		}
		request.Header.Set(name, value)
	}
	request.Host = h.Host // the address's own where that is empty
	return request, nil
}

// compare looks at one answer.
func (h *HTTP) compare(s *Sight, a *answer) {
	want := h.Expect.Status
	if len(want) == 0 {
		want = Statuses{"2xx"}
	}
	if !s.need("http.status", want.has(a.status), "status "+want.String(), fmt.Sprintf("status %d: %s", a.status, quoted(a.body))) {
		return
	}
	for _, name := range sorted(h.Expect.Headers) {
		values := a.header.Values(name)
		h.Expect.Headers[name].check(s, "header "+name, strings.Join(values, ", "), len(values) > 0)
	}
	h.Expect.Body.check(s, "the body", a.body, true)
	if h.Expect.Body.asks("not_matches") {
		s.know("http.whole", !a.cut, "a body of at most 4 MiB", "a longer one, and the rest of it was not read", "ask for less of it, or for what has to be in it")
	}
	if len(h.Expect.JSON) > 0 && s.need("http.json", gjson.Valid(a.body), "a JSON body", quoted(a.body)) {
		for _, path := range sorted(h.Expect.JSON) {
			h.Expect.JSON[path].checkJSON(s, path, gjson.Get(a.body, path))
		}
	}
	s.learn(h.Capture, a.body)
	if limit := h.Expect.Latency; limit > 0 {
		s.need("http.latency", a.latency <= time.Duration(limit), "an answer within "+limit.String(), "one after "+a.latency.Round(time.Millisecond).String())
	}
	s.settle("pass", "status "+want.String(), fmt.Sprintf("status %d", a.status), "")
}

// compareAll looks at all answers of one endpoint together.
func (h *HTTP) compareAll(s *Sight, answers []*answer) {
	if limit := h.Expect.P95; limit > 0 {
		var times []time.Duration
		for _, a := range answers {
			times = append(times, a.latency)
		}
		slices.Sort(times)
		p95 := times[min(len(times)-1, len(times)*95/100)]
		s.need("http.p95", p95 <= time.Duration(limit), "95 of 100 answers within "+limit.String(), "a p95 of "+p95.Round(time.Millisecond).String())
	}
	d := h.Expect.Distinct
	if d == nil {
		return
	}
	seen := map[string]bool{}
	for _, a := range answers {
		value := a.header.Get(d.Header)
		if d.JSON != "" {
			value = gjson.Get(a.body, d.JSON).String()
		}
		if value != "" {
			seen[value] = true
		}
	}
	s.need("http.distinct", len(seen) >= d.Count, fmt.Sprintf("%d different %s in %d answers", d.Count, d.Header+d.JSON, len(answers)),
		fmt.Sprintf("%d: %s", len(seen), strings.Join(sorted(seen), ", ")))
}
