package probe

import "time"

func (p *Probe) startSchedules(began time.Time) {
	var shared []*lane
	for _, l := range p.lanes {
		if l.Weight > 0 {
			shared = append(shared, l)
			continue
		}
		p.schedule.Go(func() {
			p.pace(began, func(n int64) time.Duration { return time.Duration(n) * l.Every }, func() *lane { return l })
		})
	}
	if len(shared) == 0 {
		return
	}
	rate := int64(p.config.Rate)
	p.schedule.Go(func() {
		// Whole seconds apart, so that no rounding adds up.
		due := func(n int64) time.Duration {
			return time.Duration(n/rate)*time.Second + time.Duration(n%rate)*time.Second/time.Duration(rate)
		}
		p.pace(began, due, interleave(shared))
	})
}

// pace sends a request whenever one is due and never waits for an answer. What
// could not leave in time leaves at once, its latency counting from when it was
// due.
func (p *Probe) pace(began time.Time, due func(n int64) time.Duration, next func() *lane) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := int64(0); ; n++ {
		at := began.Add(due(n))
		if wait := time.Until(at); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-p.halt:
				return
			}
		}
		select {
		case <-p.halt:
			return
		default:
		}
		p.launch(next(), at)
	}
}

func (p *Probe) launch(l *lane, at time.Time) {
	if p.inFlight.Add(1) > p.limit {
		p.inFlight.Add(-1)
		p.tally.drop()
		return
	}
	p.requests.Go(func() {
		defer p.inFlight.Add(-1)
		p.request(l, at)
	})
}

// interleave gives the lanes by turns as their weights say, spread evenly (the
// smooth weighted round robin that nginx balances with).
func interleave(lanes []*lane) func() *lane {
	credit := make([]int, len(lanes))
	total := 0
	for _, l := range lanes {
		total += l.Weight
	}
	return func() *lane {
		best := 0
		for i, l := range lanes {
			credit[i] += l.Weight
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= total
		return lanes[best]
	}
}
