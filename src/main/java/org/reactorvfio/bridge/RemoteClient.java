package org.reactorvfio.bridge;

import io.netty.channel.unix.DomainSocketAddress;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.websocketx.WebSocketClientHandshakeException;
import io.netty.handler.codec.http.websocketx.WebSocketHandshakeException;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.netty.http.Http11SslContextSpec;
import reactor.netty.http.client.HttpClient;
import reactor.netty.resources.LoopResources;
import reactor.netty.tcp.SslProvider;

/** The way to a server over Reactor Netty, and what its refusals mean. */
final class RemoteClient {
  private final VfioRemote remote;
  private final URI uri;

  RemoteClient(VfioRemote remote) {
    this.remote = remote;
    this.uri = remote.uri;
  }

  Duration timeout() {
    return remote.timeout;
  }

  Flux<String> devices() {
    return client()
        .get()
        .uri("/v1/devices")
        .responseSingle((response, content) -> content
            .asByteArray()
            .defaultIfEmpty(new byte[0])
            .flatMap(json -> response.status().code() == 200
                ? Mono.just(json)
                : Mono.error(refusal(response.status().code(), "the list of devices", null))))
        .timeout(timeout())
        .flatMapIterable(json -> Json.texts(json, "name"))
        .onErrorMap(e -> failure(e, "the list of devices"));
  }

  HttpClient client() {
    HttpClient client = HttpClient.newConnection().headers(headers -> {
      if (remote.token != null) {
        headers.set(HttpHeaderNames.AUTHORIZATION, "Bearer " + remote.token);
      }
    });
    if (uri.getScheme().equals("unix")) {
      if (!LoopResources.hasNativeSupport()) {
        throw new NotSupportedException(
            "connect",
            uri.toString(),
            0,
            "Unix-domain sockets need Netty's native transport",
            "add io.netty:netty-transport-native-epoll with this machine's classifier");
      }
      return client.remoteAddress(() -> new DomainSocketAddress(uri.getPath()));
    }
    boolean secure = uri.getScheme().equals("https");
    HttpClient there = client.baseUrl(uri.getScheme() + "://" + uri.getRawAuthority());
    return secure ? there.secure(spec -> spec.sslContext(tls())) : there;
  }

  private SslProvider.GenericSslContextSpec<?> tls() {
    return Http11SslContextSpec.forClient().configure(context -> {
      if (remote.authorities != null) {
        context.trustManager(remote.authorities.toFile());
      }
      if (remote.certificate != null && remote.key != null) {
        context.keyManager(remote.certificate.toFile(), remote.key.toFile());
      }
    });
  }

  static String path(String device) {
    return "/v1/devices/"
        + URLEncoder.encode(device, StandardCharsets.UTF_8).replace("+", "%20")
        + "/connect";
  }

  /** What a failure to connect means. */
  VfioException failure(Throwable e, String device) {
    if (e instanceof VfioException known) {
      return known;
    }
    if (e instanceof WebSocketClientHandshakeException handshake && handshake.response() != null) {
      return refusal(handshake.response().status().code(), device, e);
    }
    if (e instanceof WebSocketHandshakeException) {
      return new VfioException(
          "connect", device, 0, uri + " is no bridge: " + e.getMessage(), "see the cause", e);
    }
    return new VfioException(
        "connect",
        device,
        Errno.EIO,
        uri + " cannot be reached: " + e.getMessage(),
        "see whether the server runs there, and is the one that is meant",
        e);
  }

  private VfioException refusal(int status, String device, @Nullable Throwable cause) {
    return switch (status) {
      case 401 ->
        new PermissionDeniedException(
            "connect",
            device,
            Errno.EACCES,
            uri + " does not know the token",
            "show the one that its owner has",
            cause);
      case 403 ->
        new PermissionDeniedException(
            "connect", device, Errno.EPERM, uri + " does not allow it", "ask its owner", cause);
      case 404 ->
        new DeviceNotFoundException(
            "connect",
            device,
            Errno.ENODEV,
            uri + " exports no device of this name",
            "ask it for its devices()",
            cause);
      case 429 ->
        new DeviceBusyException(
            "connect", device, Errno.EAGAIN, uri + " is asked too often", "wait a second", cause);
      default ->
        new VfioException(
            "connect", device, 0, uri + " answers with status " + status, "see its log", cause);
    };
  }

  @Override
  public String toString() {
    return remote.toString();
  }
}
