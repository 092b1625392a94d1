# What the workflow build builds: the image of the actions.
target "actions" {
  context    = "."
  dockerfile = "Dockerfile"
}
