package stack

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
)

func TestHide(t *testing.T) {
	t.Parallel()
	s := &Stack{Name: "shop", Project: &types.Project{Environment: types.Mapping{"TAG": "sekrit-value"}}, Services: map[string]*Service{"api": {
		Environment: map[string]string{"DATABASE_URL": "postgres://u:pw-1@db/shop", "API_TOKEN": "tok-123456", "MODE": "production"},
	}}}
	assert.Equal(t, "connect postgres://u:***@db/shop with *** in production, ***",
		s.Hide("connect postgres://u:pw-1@db/shop with tok-123456 in production, sekrit-value"))
	assert.Equal(t, "connect postgres://u:***@db/shop with *** in production, sekrit-value",
		s.HideSecrets("connect postgres://u:pw-1@db/shop with tok-123456 in production, sekrit-value"), "words of the file are what a log is about")
}

// What runs may be of another stack, and prints the secrets of that one.
func TestHide_WhatItFollows(t *testing.T) {
	t.Parallel()
	with := func(password string) *Stack {
		return &Stack{Name: "shop", Project: &types.Project{}, Services: map[string]*Service{"api": {Environment: map[string]string{"DB_PASSWORD": password}}}}
	}
	s := with("new-one")
	s.Follows(with("old-one").Secrets())
	assert.Equal(t, "*** and ***", s.HideSecrets("old-one and new-one"))
	assert.Equal(t, []string{"new-one"}, s.Secrets())
}

// A value that contains another goes as a whole, wherever both come from.
func TestHide_TheLongestFirst(t *testing.T) {
	t.Parallel()
	s := &Stack{Name: "shop", Services: map[string]*Service{"api": {Environment: map[string]string{"API_TOKEN": "tok-123456"}}},
		Project: &types.Project{Environment: types.Mapping{"MODE": "my tok-123456 here", "A": "inside", "B": "an inside out"}}}
	assert.Equal(t, "*** | *** | *** | ***", s.Hide("my tok-123456 here | tok-123456 | an inside out | inside"))
}

// What is a secret is one rule for variables of the file and of services, configs and
// secrets; what every report names is none.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const random, sum = "abcdefghij0123456789xyz", "0123456789abcdef0123456789abcdef01234567"
	env := func(pairs ...string) *Stack {
		m := types.Mapping{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return &Stack{Name: "shop", Project: &types.Project{Environment: m}, Services: map[string]*Service{"api": {Image: "r.example.org/api:" + sum}}}
	}
	service := func(name, value string) *Stack {
		return &Stack{Name: "shop", Services: map[string]*Service{"gateway": {Environment: map[string]string{name: value}}}}
	}
	config := func(name, content string) *Stack {
		s := env()
		s.Project.Configs = types.Configs{name: {Content: content}}
		return s
	}
	secret := func(content, variable string) *Stack {
		s := env("A_VALUE", "hunter")
		s.Project.Secrets = types.Secrets{"one": {Content: content, Environment: variable}}
		return s
	}
	for name, c := range map[string]struct {
		stack *Stack
		want  []string
	}{
		"variable of the file by its name": {env("HTTP_AUTH", "hunter", "LOG_LEVEL", "information"), []string{"hunter"}},
		"address in the file":              {env("URL", "postgres://u:p4ss@db/x"), []string{"p4ss"}},
		"two addresses":                    {env("URL", "redis://:p4ss@a,redis://:w0rd@b"), []string{"p4ss", "w0rd"}},
		"address that is percent-encoded":  {env("URL", "redis://:p%40ss@a"), []string{"p%40ss", "p@ss"}},
		"address with a stray percent":     {env("URL", "redis://:p%ss@a"), []string{"p%ss"}},
		"passwords called PWD": {env("DB_PWD", "Summer#2026", "MYSQL_PWD_2", "summer", "appPwd", "winter", "pwd", "autumn", "ADMIN_PW", "spring", "SMTP_PWD", "123456"),
			[]string{"Summer#2026", "summer", "winter", "autumn", "spring", "123456"}},
		"password called PWD of a service": {service("DB_PWD", "Summer#2026"), []string{"Summer#2026"}},
		"folders of a shell": {env("PWD", "/srv/shop", "OLDPWD", "/srv", "DB_PWD_FILE", "/run/secrets/a", "PWDEBUG", "console", "HOST_PWD", "/app", "PROJECT_PWD", "/srv/shop",
			"CACHE_CONN_STRATEGY", "pooled"), nil},
		"passwords that begin like one": {env("DB_PWD", "/x9Kq+7=", "SMTP_PWD", "/Ab/"), []string{"/x9Kq+7=", "/Ab/"}},
		"webhook":                       {service("SLACK_WEBHOOK_URL", "https://hooks.example.org/services/T/B/x"), []string{"https://hooks.example.org/services/T/B/x"}},
		"settings of webhooks":          {env("WEBHOOK_URL", "https://n8n.example.org/", "WEBHOOK_HOST", "https://bot.example.org", "WEBHOOK_EVENTS", "push", "WEBHOOK_PATH", "/hook"), nil},
		"address about a webhook":       {env("DOCS", "https://example.org/?WEBHOOK=https://x/y"), nil},
		"connection strings": {env("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=b==;", "ConnectionStrings__Default", "Server=db;Password=a b", "CONN_STR", "host=db password=c"),
			[]string{"AccountName=a;AccountKey=b==;", "Server=db;Password=a b", "host=db password=c"}},
		"long and random in the file":       {env("SENTRY", random), []string{random}},
		"too short to be random":            {env("SENTRY", "abcdefghi0123456789"), nil},
		"long and no number":                {env("SENTRY", "production-environment"), nil},
		"the version":                       {env("VERSION", random), nil},
		"the tag of an image":               {env("TAG", sum), nil},
		"a tag that is called a secret":     {env("TAG_KEY", sum), []string{sum}},
		"setting with the name of a secret": {env("TOKEN_TTL", "86400", "AUTH", "false", "KEY", "none", "PASS", ""), nil},
		"time of more digits":               {env("TOKEN_TTL", "604800", "KEY_SIZE", "1048576"), nil},
		"number of a service":               {service("AUTH_CACHE", "604800"), nil},
		"eight digits":                      {env("AUTH_CODE", "12345678"), []string{"12345678"}},
		"digits that are called a password": {env("DB_PASSWORD", "123456", "API_TOKEN", "654321", "APP_SECRET", "111111", "MYPASS", "222222"), []string{"123456", "654321", "111111", "222222"}},
		"digits of a service's password":    {service("DB_PASSWORD", "123456"), []string{"123456"}},
		"what is about a secret": {env("POSTGRES_HOST_AUTH_METHOD", "password", "AUTH_MODE", "standard", "TOKEN_TIMEOUT", "forever", "KEY_EXPIRY", "tomorrow",
			"SECRET_FILE", "/run/secrets/a", "PRIVATE_PATH", "/srv/private", "KEY_NAME", "primary", "AUTH_USER", "gateway-user"), nil},
		"what is about a service's":   {service("POSTGRES_HOST_AUTH_METHOD", "password"), nil},
		"random all the same":         {env("KEY_NAME", random), []string{random}},
		"setting that is true":        {env("AUTH", "TRUE"), nil},
		"short and no setting":        {env("AUTH", "abcde"), []string{"abcde"}},
		"number that is no setting":   {env("PASSWORD", "123456"), []string{"123456"}},
		"variable of a service":       {service("HTTP_AUTH", "hunter"), []string{"hunter"}},
		"short variable of a service": {service("HTTP_AUTH", "hunte"), nil},
		"address of a service":        {service("DATABASE_URL", "postgres://u:p4ss@db/x"), []string{"p4ss"}},
		"words of a service":          {service("MODE", random), nil},
		"password like the project":   {service("DATABASE_URL", "postgres://u:shop@db/x"), nil},
		"password like a service":     {service("DATABASE_URL", "postgres://u:gateway@db/x"), nil},
		"password of three letters":   {service("DATABASE_URL", "postgres://u:abc@db/x"), nil},
		"config of one line":          {config("api_key", "hunter\n"), []string{"hunter"}},
		"config of many lines":        {config("api_key", "listen: 80\nurl: redis://:p4ss@a"), []string{"p4ss"}},
		"config that is the version":  {config("version", sum), nil},
		"secret":                      {secret("hunter2", ""), []string{"hunter2"}},
		"secret of a variable":        {secret("", "A_VALUE"), []string{"hunter"}},
		"secrets of files":            {&Stack{Name: "shop", Services: map[string]*Service{"api": {FileSecrets: []string{"hunter2", "abc", "shop"}}}}, []string{"hunter2"}},
	} {
		assert.ElementsMatch(t, c.want, c.stack.Secrets(), name)
	}
}

// A line of a secret goes also where it stands alone; the frame of a key is none.
func TestHide_Lines(t *testing.T) {
	t.Parallel()
	s := &Stack{Name: "shop", Services: map[string]*Service{}, Project: &types.Project{
		Secrets: types.Secrets{"key": {Content: "-----BEGIN KEY-----\r\nline-of-one\r\nline-of-one-and-more\n}\n-----END KEY-----\n"}},
		Configs: types.Configs{"conf": {Content: "listen: 80\nworkers: many\n"}}}}
	const log = "cannot read line-of-one-and-more: line-of-one } after -----BEGIN KEY----- with workers: many"
	const want = "cannot read ***: *** } after -----BEGIN KEY----- with workers: many"
	assert.Equal(t, want, s.Hide(log))
	assert.Equal(t, want, s.HideSecrets(log))
}
