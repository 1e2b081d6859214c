package org.reactorvfio.bridge;

import org.reactorvfio.NotSupportedException;

/** What the bridge needs, and the rest of the library does not: it is the application's to add. */
final class NeedsNetty {
  private NeedsNetty() {}

  /** Fails unless it is there. */
  static void check(String operation) {
    need(
        "reactor.netty.http.server.HttpServer",
        "io.projectreactor.netty:reactor-netty-http",
        operation);
    need(
        "com.fasterxml.jackson.core.JsonFactory",
        "com.fasterxml.jackson.core:jackson-core",
        operation);
  }

  private static void need(String type, String artifact, String operation) {
    try {
      Class.forName(type, false, NeedsNetty.class.getClassLoader());
    } catch (ClassNotFoundException e) {
      throw new NotSupportedException(
          operation,
          "the bridge",
          0,
          artifact + " is not on the class path or the module path",
          "add it to the application's dependencies",
          e);
    }
  }
}
