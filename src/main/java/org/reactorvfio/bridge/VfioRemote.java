package org.reactorvfio.bridge;

import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * Where devices of another process are, and how to reach them. Immutable; connects only when a device is opened, with a connection of
 * its own for each.
 */
public final class VfioRemote {
  private static final Duration TIMEOUT = Duration.ofSeconds(30);

  final URI uri;
  final @Nullable String token;
  final Duration timeout;
  final @Nullable Path authorities;
  final @Nullable Path certificate;
  final @Nullable Path key;

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
        return Mono.defer(() -> {
          NeedsNetty.check("open");
          return RemoteOperations.open(new RemoteClient(VfioRemote.this), name);
        });
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
    return Flux.defer(() -> {
      NeedsNetty.check("list devices");
      return new RemoteClient(this).devices();
    });
  }

  @Override
  public String toString() {
    return uri.toString();
  }
}
