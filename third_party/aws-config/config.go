// Package config stands where AWS's own does: see the README of third_party. It
// reads the credentials of a build cache in S3 from the variables that
// aws-actions/configure-aws-credentials sets, and from nowhere else.
package config

import (
	"context"
	"errors"
	"os"
)

// Config is what buildx asks for.
type Config struct{ Credentials Environment }

// Environment gives the credentials of the environment.
type Environment struct{}

// Credentials are a key of AWS.
type Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// LoadDefaultConfig gives a configuration that knows the environment.
func LoadDefaultConfig(context.Context) (Config, error) { return Config{}, nil }

// Retrieve reads the credentials.
func (Environment) Retrieve(context.Context) (Credentials, error) {
	c := Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return Credentials{}, errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
	}
	return c, nil
}
