# What the workflow build builds: the image of the actions. It says which version that
# is: a release's, or a commit.
variable "VERSION" {
  default = "dev"
}

group "default" {
  targets = ["actions"]
}

target "actions" {
  context    = "."
  dockerfile = "Dockerfile"
  tags       = ["ghcr.io/shiksha/actions:${VERSION}"]
}
