package gateway

import (
	"context"
	"strconv"
	"time"
)

// standInScript leaves a process in the container that takes over when whoever pinned
// a service's addresses does not go on: when one of them has been gone from DNS for
// $3 seconds, it takes the pins out and has nginx load what DNS says, and so again
// whenever that changes. It ends when the pins are taken out by others, when DNS has
// been the same for a minute after it took over, or after $4 seconds. $1 is the
// service, $2 the name that DNS has all addresses under.
const standInScript = `
command -v getent >/dev/null && command -v sed >/dev/null && command -v sort >/dev/null || exit 0
(
stale=0 last= same=0 took= left=$4
while [ "$left" -gt 0 ]; do
  sleep 1
  left=$((left-1))
  now=$( { getent ahostsv4 "$2" || getent hosts "$2"; } 2>/dev/null | sed 's/[[:space:]].*//' | sort -u)
  [ -n "$now" ] || continue
  if [ -z "$took" ]; then
    pins=$(sed -n "s/^\([^ ]*\) .* # shiksha:$1\$/\1/p" /etc/hosts)
    [ -n "$pins" ] || exit 0
    gone=
    for a in $pins; do
      found=
      for b in $now; do [ "$a" = "$b" ] && found=1; done
      [ -n "$found" ] || gone=1
    done
    if [ -n "$gone" ]; then stale=$((stale+1)); else stale=0; fi
    [ "$stale" -ge "$3" ] || continue
    hosts=$(sed "/# shiksha:$1\$/d" /etc/hosts)
    printf '%s\n' "$hosts" >/etc/hosts
    took=1
  fi
  if [ "$now" = "$last" ]; then
    same=$((same+1))
    [ "$same" -lt 60 ] || exit 0
    continue
  fi
  last=$now same=0
  nginx -t >/dev/null 2>&1 && nginx -s reload
done
) </dev/null >/dev/null 2>&1 &
`

// standsInAfter is how long a pinned address may be gone before it is taken over.
const standsInAfter = 3

// StandIn leaves a process in the gateway that follows DNS (by the given name) in the
// place of this program, should it end while the service's addresses are pinned. It
// is for units that go by themselves, and ends after limit at the latest. Where the
// image lacks what it needs, nobody stands in.
func (g *Nginx) StandIn(ctx context.Context, service, name string, limit time.Duration) error {
	_, err := g.script(ctx, "leave somebody who stands in", standInScript, nil, service, name,
		strconv.Itoa(standsInAfter), strconv.Itoa(int(limit.Seconds())))
	return err
}
