package gateway

import "time"

// ReloadTimeout sets how long Reload waits for new workers.
func ReloadTimeout(d time.Duration) Option { return func(g *Nginx) { g.reloadTimeout = d } }
