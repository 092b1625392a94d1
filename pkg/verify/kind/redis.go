package kind

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/stack"
)

// Redis asks a Redis server with the redis-cli of its own unit.
type Redis struct {
	Service  string         `yaml:"service" jsonschema:"required" help:"Service whose units are Redis."`
	Password *Secret        `yaml:"password" help:"Where the password is. With it, a client without a password has to be rejected."`
	Port     int            `yaml:"port" jsonschema:"exclusiveMinimum=0" help:"Default: 6379."`
	Canary   *bool          `yaml:"canary" help:"Whether to write, read and delete a key that lives 30 s. Default: true."`
	AOF      *bool          `yaml:"aof" help:"Whether the append-only file has to be on and written. Default: only that it is written where it is on."`
	Memory   float64        `yaml:"memory" jsonschema:"exclusiveMinimum=0" help:"Share of maxmemory that may be used. Default: 0.9."`
	Policy   Pattern        `yaml:"policy" help:"Regular expression for maxmemory-policy; another is a warning. Default: ^(noeviction|volatile-.*)$, which never loses a queue."`
	Commands []RedisCommand `yaml:"commands" help:"More commands that read."`
}

// RedisCommand is one command and what its answer has to be.
type RedisCommand struct {
	Run    []string `yaml:"run" jsonschema:"required" help:"The command and its arguments, such as [GET, beat:heartbeat]."`
	Expect Match    `yaml:"expect" jsonschema:"required" help:"What it has to answer. nil and an empty list count as missing (the list also as empty); an empty string does not. An error fails."`
}

// Manner is how it is looked at.
func (r *Redis) Manner() Manner { return brisk(InUnit) }

// Check tells what cannot be asked.
func (r *Redis) Check() error { return share("memory", r.Memory) }

// Look asks every unit.
func (r *Redis) Look(s *Sight) {
	units, err := s.running(s.Ctx, r.Service)
	if err != nil {
		s.blind(err)
		return
	}
	password, err := s.reveal(r.Password, r.Service)
	if err != nil {
		s.blind(err)
		return
	}
	for _, u := range units {
		s.at(u.Name)
		r.unit(&redisSession{s, u, r, password})
	}
}

type redisSession struct {
	*Sight
	u        stack.Unit
	r        *Redis
	password string
}

// cli runs a command. The answer is compared, not the exit code: redis-cli ends
// with 0 also when the server turned it away.
func (c *redisSession) cli(password string, words ...string) (string, bool) {
	out, _, ok := c.run(c.u, c.command(words...), c.environment(password), nil)
	return out, ok
}

func (c *redisSession) environment(password string) []string {
	if password == "" {
		return nil
	}
	return []string{"REDISCLI_AUTH=" + password}
}

func (c *redisSession) command(words ...string) []string { return c.program("--raw", words...) }

func (c *redisSession) program(form string, words ...string) []string {
	return append([]string{"redis-cli", form, "-p", strconv.Itoa(cmp.Or(c.r.Port, 6379))}, words...)
}

// stranger pings as somebody who knows no password: not the one either that the unit
// has in its own environment, for its healthcheck.
func (c *redisSession) stranger() (string, bool) {
	out, _, ok := c.run(c.u, append([]string{"env", "-u", "REDISCLI_AUTH"}, c.command("PING")...), nil, nil)
	return out, ok
}

func (r *Redis) unit(c *redisSession) {
	if c.password != "" {
		out, ok := c.stranger()
		if !ok {
			return
		}
		c.need("redis.open", strings.Contains(out, "NOAUTH"), "NOAUTH for a client without a password", quoted(out), "set requirepass")
	}
	out, ok := c.cli(c.password, "PING")
	if !ok || !c.need("redis.ping", out == "PONG", "PONG", quoted(out)) {
		return
	}
	if r.Canary == nil || *r.Canary {
		r.canary(c)
	}
	r.persistence(c)
	r.memory(c)
	for _, command := range r.Commands {
		c.compare(command)
	}
	c.settle("pass", "a server that answers and keeps", "answers, keeps what it is given, persists", "")
}

// compare asks in the form that redis-cli has for people: an error, an empty text and
// nothing look the same in the other one.
func (c *redisSession) compare(command RedisCommand) {
	out, exit, ok := c.run(c.u, c.program("--no-raw", command.Run...), c.environment(c.password), nil)
	what := strings.Join(command.Run, " ")
	if ok && c.need("redis.command", exit == 0 && !isRedisError(out), "an answer to "+what, quoted(out)) {
		value, exists := redisValue(out)
		command.Expect.checkRows(c.Sight, what, value, exists, redisEmpty.MatchString(strings.TrimSpace(out)))
	}
}

var (
	// redisError is how an error begins. What redis-cli prints raw in any form, such as
	// INFO, has the error's code alone; the only status of a command that is a word in
	// capitals and more begins with OK.
	redisError = regexp.MustCompile(`(?m)^( *\d+\) )*\(error\) |\A[A-Z]{2,} `)
	// redisItem is what stands before a member of a list.
	redisItem  = regexp.MustCompile(`^( *\d+\) )+`)
	redisNone  = regexp.MustCompile(`^\((nil|empty [a-z ]+)\)$`)
	redisEmpty = regexp.MustCompile(`^\(empty [a-z ]+\)$`)
)

func isRedisError(out string) bool {
	return redisError.MatchString(out) && !strings.HasPrefix(out, "OK ")
}

// redisValue reads the form for people: the value without white space around it, one line for each member of
// a list, and whether there is one. In Redis a list without members does not exist.
func redisValue(out string) (value string, exists bool) {
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		line = strings.TrimPrefix(redisItem.ReplaceAllString(line, ""), "(integer) ")
		if line == "" || redisNone.MatchString(line) {
			lines[i] = ""
			continue
		}
		exists = true
		if text, err := strconv.Unquote(line); err == nil {
			line = strings.TrimSpace(text)
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n"), exists
}

func (r *Redis) canary(c *redisSession) {
	key, value := "shiksha:canary:"+rand.Text(), rand.Text()
	set, ok := c.cli(c.password, "SET", key, value, "EX", "30")
	if !ok {
		return
	}
	got, _ := c.cli(c.password, "GET", key)
	gone, _ := c.cli(c.password, "DEL", key)
	c.need("redis.canary", set == "OK" && got == value && gone == "1", "a key to be written, read and deleted", quoted(strings.Join([]string{set, got, gone}, "; ")))
}

func (r *Redis) persistence(c *redisSession) {
	info, ok := c.info("persistence", "rdb_last_bgsave_status")
	if !ok {
		return
	}
	c.need("redis.rdb", info["rdb_last_bgsave_status"] == "ok", "the last save to be ok", "rdb_last_bgsave_status:"+info["rdb_last_bgsave_status"])
	on := info["aof_enabled"] == "1"
	if r.AOF != nil {
		c.need("redis.aof", on == *r.AOF, fmt.Sprintf("append-only file on: %t", *r.AOF), fmt.Sprintf("aof_enabled:%s", info["aof_enabled"]))
	}
	if on {
		c.need("redis.aof-write", info["aof_last_write_status"] == "ok", "the last write of the append-only file to be ok", "aof_last_write_status:"+info["aof_last_write_status"])
	}
}

func (r *Redis) memory(c *redisSession) {
	info, ok := c.info("memory", "used_memory")
	if !ok {
		return
	}
	used, err := strconv.ParseFloat(info["used_memory"], 64)
	most, wrong := strconv.ParseFloat(info["maxmemory"], 64)
	limit := cmp.Or(r.Memory, 0.9)
	if err == nil && wrong == nil && most > 0 {
		c.need("redis.memory", used/most < limit, fmt.Sprintf("less than %g of maxmemory in use", limit), fmt.Sprintf("%.2f of it", used/most))
	}
	policy, wanted := info["maxmemory_policy"], r.Policy
	if !wanted.given() {
		wanted = evictsNoQueue
	}
	c.want("redis.policy", wanted.MatchString(policy), "maxmemory-policy "+wanted.String(), policy, "allkeys-* may evict a queue")
}

var evictsNoQueue = mustPattern(`^(noeviction|volatile-.*)$`)

// info reads a section of INFO; without the field that always stands there nothing
// is known.
func (c *redisSession) info(section, always string) (map[string]string, bool) {
	out, ok := c.cli(c.password, "INFO", section)
	fields := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			fields[name] = value
		}
	}
	return fields, ok && c.know("redis.info", fields[always] != "", "INFO "+section, quoted(out))
}
