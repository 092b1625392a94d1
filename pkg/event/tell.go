package event

import (
	"fmt"
	"time"
)

// tellEvery is how often Tell tells.
const tellEvery = 30 * time.Second

// Tell tells from time to time, as event as, how a wait stands, until the function that it
// gives is called: who sees nothing for minutes takes the release for hung and cancels
// it. What takes less than half a minute tells nothing. how says in words what is waited
// for and its state ("" has nothing to tell now), and how long it may take at most (0
// where nobody knows).
func Tell(sink Sink, as Event, how func() (state string, limit time.Duration)) (stop func()) {
	began, over, ended := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			state, limit := how()
			if state == "" {
				continue
			}
			as.Level, as.Time = Info, time.Now()
			as.Text = fmt.Sprintf("%s, %s so far", state, time.Since(began).Round(time.Second))
			if limit > 0 {
				as.Text += fmt.Sprintf(", at most %s", limit)
			}
			sink.Emit(as)
		}
	}()
	// Nothing of it is told after what ended the wait.
	return func() { close(over); <-ended }
}
