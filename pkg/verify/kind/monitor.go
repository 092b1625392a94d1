package kind

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/shiksha/actions/pkg/stack"
)

// Monitor is where the API of Prometheus, Alertmanager or Grafana answers.
type Monitor struct {
	Server `yaml:",inline"`
	URL    string `yaml:"url" help:"Base address, instead of service and port."`
	CA     string `yaml:"ca" help:"Certificates (PEM) of the authority to trust instead of the system's."`
}

// Check tells what cannot be asked.
func (m *Monitor) Check() error {
	if (m.URL == "") == (m.Service == "") {
		return fmt.Errorf("needs either service or url")
	}
	if m.URL != "" && !strings.Contains(m.URL, "{{") && !validURL(m.URL) {
		return fmt.Errorf("url is not an address of http or https")
	}
	return nil
}

// Manner is how it is looked at.
func (m *Monitor) Manner() Manner {
	if m.Service != "" || m.From == OnHost {
		return brisk(OnHost)
	}
	return brisk(OnRunner)
}

// api is one server with what every request to it carries.
type api struct {
	*Sight
	base   *url.URL
	client *http.Client
	header http.Header
	unit   *stack.Unit // nil for an address
}

// apis gives the servers; nil when there is nothing to ask, which is told.
func (m *Monitor) apis(s *Sight, port int, header http.Header) []api {
	h := Request{Server: m.Server, URL: m.URL, CA: m.CA, Path: ""}
	h.Port = cmp.Or(h.Port, port)
	base, endpoints, err := h.endpoints(s)
	if err != nil {
		s.blind(err)
		return nil
	}
	config, err := h.tls(s, base)
	if err != nil {
		s.blind(err)
		return nil
	}
	var out []api
	for _, e := range endpoints {
		s.at(e.name)
		out = append(out, api{s, base, e.client(config), header, e.unit})
	}
	return out
}

// get asks for a path; whether the status is 200 is the caller's comparison.
func (a api) get(path string, query url.Values) (*answer, error) {
	return a.call(http.MethodGet, path, query, "")
}

func (a api) call(method, path string, query url.Values, body string) (*answer, error) {
	u := *a.base
	u.Path, u.RawQuery = strings.TrimRight(u.Path, "/")+path, query.Encode()
	request, err := http.NewRequestWithContext(a.Ctx, method, u.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if a.header != nil {
		request.Header = a.header.Clone()
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := do(a.client, request)
	if err != nil {
		a.saw(method+" "+u.Redacted(), plain(err))
		return nil, err
	}
	a.saw(method+" "+u.Redacted(), fmt.Sprintf("%d: %s", answer.status, answer.body))
	return answer, nil
}

// json asks for a path; anything but a JSON answer with 200 is no data, and so
// unknown.
func (a api) json(point, path string, query url.Values) (gjson.Result, bool) {
	answer, err := a.get(path, query)
	if err != nil {
		a.blind(err)
		return gjson.Result{}, false
	}
	ok := a.know(point, answer.status == http.StatusOK && gjson.Valid(answer.body), "a JSON answer from "+path, fmt.Sprintf("status %d: %s", answer.status, quoted(answer.body)))
	return gjson.Parse(answer.body), ok
}
