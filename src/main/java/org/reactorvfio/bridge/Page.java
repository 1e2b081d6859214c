package org.reactorvfio.bridge;

import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.HttpHeaderNames;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Map;
import reactor.core.publisher.Mono;
import reactor.netty.http.server.HttpServerResponse;

/**
 * The live page, as it is: it holds no secret, so that it is shown without a token, and asks for one. It may load nothing but its own
 * parts, talk to nobody but this server, and be framed by nobody.
 */
final class Page {
  private static final String POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; "
      + "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
      + "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

  private final byte[] content;
  private final String type;

  private Page(String resource, String type) {
    try (InputStream in = Page.class.getResourceAsStream(resource)) {
      if (in == null) {
        throw new IllegalStateException("the library's jar has lost " + resource);
      }
      this.content = in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    this.type = type;
  }

  /** The parts of the page, by their paths. Reads files. */
  static Map<String, Page> parts() {
    return Map.of(
        "/", new Page("page.html", "text/html; charset=utf-8"),
        "/page.css", new Page("page.css", "text/css; charset=utf-8"),
        "/page.js", new Page("page.js", "text/javascript; charset=utf-8"),
        "/page.svg", new Page("page.svg", "image/svg+xml"));
  }

  Mono<Void> send(HttpServerResponse response) {
    return response
        .header(HttpHeaderNames.CONTENT_TYPE, type)
        .header(HttpHeaderNames.CONTENT_LENGTH, Integer.toString(content.length))
        .header("Content-Security-Policy", POLICY)
        .header("Referrer-Policy", "no-referrer")
        .header("Cross-Origin-Opener-Policy", "same-origin")
        .header("Cross-Origin-Resource-Policy", "same-origin")
        .send(Mono.just(Unpooled.wrappedBuffer(content)))
        .then();
  }
}
