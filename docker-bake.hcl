# What the workflow build builds: the image of the actions. It says which version that
# is: a release's, or a commit.
variable "VERSION" {
  default = "dev"
}

# The workflow gives that of its own repository, so that a fork publishes its own.
variable "REPOSITORY" {
  default = "ghcr.io/shiksha/actions"
}

group "default" {
  targets = ["actions"]
}

target "actions" {
  context    = "."
  dockerfile = "Dockerfile"
  tags       = ["${REPOSITORY}:${VERSION}"]
}
