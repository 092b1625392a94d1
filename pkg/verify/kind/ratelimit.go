package kind

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// RateLimit sends many requests at once and counts who was turned away.
type RateLimit struct {
	Request  `yaml:",inline"`
	Expect   RateExpect `yaml:"expect" help:"What is served. Default: status 2xx."`
	Requests *int       `yaml:"requests" help:"How many requests to send, at most 10000. Default: 40."`
	Rate     *int       `yaml:"rate" help:"How many a second, at most 10000. Default: 100."`
	Limited  Statuses   `yaml:"limited" help:"Status of a rejected request. Default: 429. A 503 looks like an outage."`
	Least    *int       `yaml:"least" help:"How many requests have to be rejected. Default: 1."`
	Served   *int       `yaml:"served" help:"How many have to be served. Default: 1."`
}

// RateExpect is what an answer to somebody who is served has to be: of so many requests
// only the status is looked at.
type RateExpect struct {
	Status Statuses `yaml:"status" help:"Status: 200, 2xx, or a list."`
}

// mostRequests bounds a row of requests, and how many of them a second: more is an
// attack on one's own service, and no clock here ticks faster.
const mostRequests = 10000

// Check tells what cannot be asked, and numbers that no row of requests can have.
func (r *RateLimit) Check() error {
	if err := r.Request.Check(); err != nil {
		return err
	}
	requests, rate, least, served := r.numbers()
	for _, one := range []struct {
		name        string
		value, most int
	}{{"requests", requests, mostRequests}, {"rate", rate, mostRequests}, {"least", least, requests}, {"served", served, requests}} {
		if one.value < 1 || one.value > one.most {
			return fmt.Errorf("%s is %d, and has to be from 1 to %d", one.name, one.value, one.most)
		}
	}
	if least+served > requests {
		return fmt.Errorf("least and served together are %d, of %d requests: send more, or expect fewer", least+served, requests)
	}
	return nil
}

// numbers are the numbers of the check, with those that it does not say.
func (r *RateLimit) numbers() (requests, rate, least, served int) {
	or := func(n *int, fallback int) int { return *cmp.Or(n, &fallback) }
	return or(r.Requests, 40), or(r.Rate, 100), or(r.Least, 1), or(r.Served, 1)
}

// Manner is how it is looked at: a second row of requests would meet the limit of
// the first.
func (r *RateLimit) Manner() Manner {
	return Manner{Place: r.place(), Interval: 5 * time.Second, Passes: 1}
}

// Look sends them at a fixed rate, whatever comes back.
func (r *RateLimit) Look(s *Sight) {
	base, endpoints, err := r.endpoints(s)
	if err != nil {
		s.blind(err)
		return
	}
	config, err := r.tls(s, base)
	if err != nil {
		s.blind(err)
		return
	}
	s.at(endpoints[0].name)
	client := endpoints[0].client(config)
	n, rate, _, _ := r.numbers()
	probe := cmp.Or(r.Method, http.MethodGet) + " " + base.Redacted()
	counts, err := r.send(s, client, base, n, time.Second/time.Duration(rate))
	switch {
	case counts == nil:
		s.blind(err)
	case counts[0] == n:
		s.saw(probe, plain(err))
		s.absent("http.answer", err, "an answer")
	default:
		r.compare(s, n, counts, probe)
	}
}

// send sends n requests, one every so often, and counts the answers by status: 0 for
// none, of which it gives the first reason. Without counts nothing could be sent.
func (r *RateLimit) send(s *Sight, client *http.Client, base *url.URL, n int, every time.Duration) (map[int]int, error) {
	type result struct {
		status int
		err    error
	}
	results := make(chan result, n)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for range n {
		request, err := r.request(s, base)
		if err != nil {
			return nil, err
		}
		go func() {
			a, err := do(client, request)
			if err != nil {
				a = &answer{}
			}
			results <- result{a.status, err}
		}()
		select {
		case <-tick.C:
		case <-s.Ctx.Done():
		}
	}
	counts := map[int]int{}
	var first error
	for range n {
		one := <-results
		counts[one.status]++
		if first == nil {
			first = one.err
		}
	}
	return counts, first
}

func (r *RateLimit) compare(s *Sight, n int, counts map[int]int, probe string) {
	limited := r.Limited
	if len(limited) == 0 {
		limited = Statuses{"429"}
	}
	served := r.Expect.Status
	if len(served) == 0 {
		served = Statuses{"2xx"}
	}
	turned, ok, other := 0, 0, 0
	found := fmt.Sprintf("of %d requests", n)
	for _, code := range sortedCodes(counts) {
		switch {
		case limited.has(code):
			turned += counts[code]
		case served.has(code):
			ok += counts[code]
		default:
			other += counts[code]
		}
		name := fmt.Sprint(code)
		if code == 0 {
			name = "no answer"
		}
		found += fmt.Sprintf(", %d with %s", counts[code], name)
	}
	s.saw(probe, found)
	_, _, least, fine := r.numbers()
	s.need("rate-limit.limited", turned >= least, fmt.Sprintf("at least %d turned away with %s", least, limited), found)
	s.need("rate-limit.served", ok >= fine, fmt.Sprintf("at least %d served", fine), found)
	s.need("rate-limit.other", other == 0, "nobody turned away in another way", found, "in nginx: limit_req_status 429;")
}

func sortedCodes(counts map[int]int) []int { return slices.Sorted(maps.Keys(counts)) }
