package kind

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tidwall/gjson"
)

// Grafana looks whether dashboards would show something.
type Grafana struct {
	Monitor     `yaml:",inline"`
	User        string      `yaml:"user" help:"User for basic authentication, with password."`
	Password    *Secret     `yaml:"password" help:"Where the user's password is."`
	Token       *Secret     `yaml:"token" help:"Where a service account's token is, instead of user and password."`
	Datasources []string    `yaml:"datasources" help:"Data sources, by uid, that have to be healthy."`
	Dashboards  []Dashboard `yaml:"dashboards" help:"Dashboards that have to be there."`
}

// Check tells what cannot be asked. Half of a user's credentials would ask as nobody.
func (g *Grafana) Check() error {
	if (g.User == "") != (g.Password == nil) {
		return errors.New("user and password need each other: give both, or a token alone")
	}
	return g.Monitor.Check()
}

// Dashboard is one dashboard.
type Dashboard struct {
	UID    string `yaml:"uid" jsonschema:"required" help:"Its uid."`
	Panels int    `yaml:"panels" jsonschema:"exclusiveMinimum=0" help:"How many panels it has to have, those in folded rows included; a row is not counted. Default: any number."`
	Data   bool   `yaml:"data" help:"Whether each panel's queries have to return data, in folded rows and of library panels too. No data is unknown, and so is a dashboard without a query."`
}

func (g *Grafana) dials() (service, addr string) { return g.dialsAt(3000) }

// Look asks.
func (g *Grafana) Look(s *Sight) {
	header, err := g.header(s)
	if err != nil {
		s.blind(err)
		return
	}
	for _, a := range g.apis(s, 3000, header) {
		g.look(a)
	}
}

func (g *Grafana) header(s *Sight) (http.Header, error) {
	token, err := s.reveal(g.Token, g.Service)
	if err != nil {
		return nil, err
	}
	password, err := s.reveal(g.Password, g.Service)
	if err != nil {
		return nil, err
	}
	request := &http.Request{Header: http.Header{}}
	switch {
	case token != "":
		request.Header.Set("Authorization", "Bearer "+token)
	case password != "":
		request.SetBasicAuth(g.User, password)
	}
	return request.Header, nil
}

func (g *Grafana) look(a api) {
	health, err := a.get("/api/health", nil)
	if err != nil {
		a.absent("grafana.answer", err, "an answer")
		return
	}
	database := gjson.Get(health.body, "database").String()
	if !a.need("grafana.health", health.status == http.StatusOK && database == "ok", "database ok", fmt.Sprintf("status %d: %s", health.status, quoted(health.body))) {
		return
	}
	for _, uid := range g.Datasources {
		r, err := a.get("/api/datasources/uid/"+url.PathEscape(uid)+"/health", nil)
		if err != nil {
			a.blind(err)
			continue
		}
		a.need("grafana.datasource", gjson.Get(r.body, "status").String() == "OK", "the data source "+uid+" to be OK", fmt.Sprintf("status %d: %s", r.status, quoted(r.body)))
	}
	for _, d := range g.Dashboards {
		g.dashboard(a, d)
	}
	a.settle("pass", "database ok", "database ok, all that was asked for is there", "")
}

func (g *Grafana) dashboard(a api, d Dashboard) {
	r, err := a.get("/api/dashboards/uid/"+url.PathEscape(d.UID), nil)
	if err != nil {
		a.blind(err)
		return
	}
	if !a.need("grafana.dashboard", r.status == http.StatusOK, "the dashboard "+d.UID, fmt.Sprintf("status %d: %s", r.status, quoted(r.body))) {
		return
	}
	panels := unfolded(gjson.Get(r.body, "dashboard.panels").Array())
	if d.Panels > 0 {
		a.need("grafana.panels", len(panels) == d.Panels, fmt.Sprintf("%d panels in %s", d.Panels, d.UID), fmt.Sprintf("%d panels", len(panels)))
	}
	if !d.Data {
		return
	}
	asked := 0
	for _, p := range panels {
		asked += g.panel(a, d, p)
	}
	a.know("grafana.queries", asked > 0, "a panel with a query in "+d.UID, "no query that could be asked", "dashboards whose panels are not listed under panels cannot be looked into: leave data out")
}

// unfolded lists panels without the rows that are among them: an open row has its
// panels after it, one that is folded up has them inside.
func unfolded(panels []gjson.Result) (out []gjson.Result) {
	for _, p := range panels {
		if p.Get("type").String() != "row" {
			out = append(out, p)
		}
		out = append(out, unfolded(p.Get("panels").Array())...)
	}
	return out
}

// panel asks every query of a panel and tells how many there were. A library panel
// has its queries in the library; what the dashboard has beside its name is not shown.
func (g *Grafana) panel(a api, d Dashboard, p gjson.Result) int {
	if uid := p.Get("libraryPanel.uid").String(); uid != "" {
		r, err := a.get("/api/library-elements/"+url.PathEscape(uid), nil)
		if err != nil {
			a.blind(err)
			return 0
		}
		if !a.need("grafana.library", r.status == http.StatusOK, fmt.Sprintf("the library panel %s of %s", p.Get("libraryPanel.name"), d.UID), fmt.Sprintf("status %d: %s", r.status, quoted(r.body))) {
			return 0
		}
		p = gjson.Get(r.body, "result.model")
	}
	asked := 0
	for _, target := range p.Get("targets").Array() {
		if target.Get("hide").Bool() {
			continue // as Grafana's own page does
		}
		g.data(a, d, p, target)
		asked++
	}
	return asked
}

// data runs one query of a panel as Grafana's own page does.
func (g *Grafana) data(a api, d Dashboard, panel, target gjson.Result) {
	source := target.Get("datasource.uid").String()
	if source == "" {
		source = panel.Get("datasource.uid").String()
	}
	body := fmt.Sprintf(`{"from":"now-5m","to":"now","queries":[{"refId":"A","expr":%s,"datasource":{"uid":%q},"instant":true,"maxDataPoints":10,"intervalMs":15000}]}`,
		jsonText(target.Get("expr").String()), source)
	r, err := a.call(http.MethodPost, "/api/ds/query", nil, body)
	if err != nil {
		a.blind(err)
		return
	}
	expected := fmt.Sprintf("data in the panel %s of %s", panel.Get("title"), d.UID)
	if !a.need("grafana.query", r.status == http.StatusOK, expected, fmt.Sprintf("status %d: %s", r.status, quoted(r.body))) {
		return
	}
	series := 0
	for _, frame := range gjson.Get(r.body, "results.A.frames").Array() {
		if len(frame.Get("data.values.0").Array()) > 0 {
			series++
		}
	}
	a.know("grafana.data", series > 0, expected, "an answer without data")
}
