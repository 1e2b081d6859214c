package org.reactorvfio.kernel;

/** A container, in which several groups may be. */
final class Container implements SharedSpace.Backing {
  private final Fd fd;

  Container(Fd fd) {
    this.fd = fd;
  }

  Fd fd() {
    return fd;
  }

  @Override
  public String description() {
    return "a type 1 container";
  }

  @Override
  public void close() {
    fd.close();
  }
}
