package org.reactorvfio.bridge;

import io.netty.channel.unix.DomainSocketAddress;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.websocketx.WebSocketClientHandshakeException;
import io.netty.handler.codec.http.websocketx.WebSocketHandshakeException;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceNotFoundException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.netty.http.Http11SslContextSpec;
import reactor.netty.http.client.HttpClient;
import reactor.netty.resources.LoopResources;
import reactor.netty.tcp.SslProvider;

/**
 * Where devices of another process are, and how to reach them. Immutable; connects only when a device is opened, with a connection of
 * its own for each.
 */
public final class VfioRemote {
  private static final Duration TIMEOUT = Duration.ofSeconds(30);

  private final URI uri;
  private final @Nullable String token;
  private final Duration timeout;
  private final @Nullable Path authorities;
  private final @Nullable Path certificate;
  private final @Nullable Path key;

  private VfioRemote(
      URI uri,
      @Nullable String token,
      Duration timeout,
      @Nullable Path authorities,
      @Nullable Path certificate,
      @Nullable Path key) {
    this.uri = uri;
    this.token = token;
    this.timeout = timeout;
    this.authorities = authorities;
    this.certificate = certificate;
    this.key = key;
  }

  /**
   * Names a server.
   *
   * @param uri where it is: {@code http://host:port}, {@code https://host:port} or {@code unix:///path}
   * @return the server, without a token
   * @throws IllegalArgumentException if the address is none of these
   */
  public static VfioRemote at(URI uri) {
    String scheme = String.valueOf(uri.getScheme());
    boolean network = scheme.matches("https?") && uri.getHost() != null;
    boolean local =
        scheme.equals("unix") && uri.getPath() != null && !uri.getPath().isEmpty();
    if (!network && !local) {
      throw new IllegalArgumentException(
          "the address of a server is http://host:port, https://host:port or unix:///path");
    }
    return new VfioRemote(uri, null, TIMEOUT, null, null, null);
  }

  /**
   * Shows a token.
   *
   * @param secret the token
   * @return the server, asked with the token
   */
  public VfioRemote withToken(String secret) {
    return new VfioRemote(uri, secret, timeout, authorities, certificate, key);
  }

  /**
   * Sets how long an answer may take: of the server, or of an operation of the device.
   *
   * @param limit the time, 30 s by default
   * @return the server, asked with that patience
   */
  public VfioRemote withTimeout(Duration limit) {
    return new VfioRemote(uri, token, limit, authorities, certificate, key);
  }

  /**
   * Sets who vouches for the server, instead of those that the Java platform trusts.
   *
   * @param pem the certificates, PEM
   * @return the server, trusted because of them
   */
  public VfioRemote withTrust(Path pem) {
    return new VfioRemote(uri, token, timeout, pem, certificate, key);
  }

  /**
   * Shows a certificate to the server, for mutual TLS.
   *
   * @param chain the client's certificate and those that vouch for it, PEM
   * @param privateKey its private key, PKCS#8 in PEM, without a password
   * @return the server, asked with the certificate
   */
  public VfioRemote withIdentity(Path chain, Path privateKey) {
    return new VfioRemote(uri, token, timeout, authorities, chain, privateKey);
  }

  /**
   * Names a device of the server. Opening the transport makes a connection; memory cannot be mapped, neither the device's nor for
   * it, because a socket shares none.
   *
   * @param name the name that it is exported by
   * @return the way to the device
   */
  public VfioTransport device(String name) {
    return new VfioTransport() {
      @Override
      public Mono<VfioOperations> open() {
        return RemoteOperations.open(VfioRemote.this, name);
      }

      @Override
      public String toString() {
        return name + " at " + uri;
      }
    };
  }

  /**
   * Asks which devices are exported.
   *
   * @return their names
   */
  public Flux<String> devices() {
    return Flux.defer(() -> client()
        .get()
        .uri("/v1/devices")
        .responseSingle((response, content) -> content
            .asByteArray()
            .defaultIfEmpty(new byte[0])
            .flatMap(json -> response.status().code() == 200
                ? Mono.just(json)
                : Mono.error(refusal(response.status().code(), "the list of devices", null))))
        .timeout(timeout)
        .flatMapIterable(json -> Json.texts(json, "name"))
        .onErrorMap(e -> failure(e, "the list of devices")));
  }

  Duration timeout() {
    return timeout;
  }

  HttpClient client() {
    HttpClient client = HttpClient.newConnection().headers(headers -> {
      if (token != null) {
        headers.set(HttpHeaderNames.AUTHORIZATION, "Bearer " + token);
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
      if (authorities != null) {
        context.trustManager(authorities.toFile());
      }
      if (certificate != null && key != null) {
        context.keyManager(certificate.toFile(), key.toFile());
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
    return uri.toString();
  }
}
