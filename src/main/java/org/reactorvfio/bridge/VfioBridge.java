package org.reactorvfio.bridge;

import java.net.URI;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/**
 * A server that exports devices of this process: to people over HTTP, to {@link VfioRemote} over WebSocket. The devices stay their
 * owner's, who goes on using them, and closes them after the bridge or before it.
 *
 * <p>Everybody must show a token. What may be done with a device is what its export and the token both allow; without further
 * {@link Permission}s that is to look at it, and to receive the signals of the vectors that the owner has armed.
 */
public final class VfioBridge {
  private final URI uri;
  private final @Nullable String token;
  private final Mono<Void> close;
  private final Mono<Void> onClose;

  VfioBridge(URI uri, @Nullable String token, Mono<Void> close, Mono<Void> onClose) {
    this.uri = uri;
    this.token = token;
    this.close = close;
    this.onClose = onClose;
  }

  /**
   * Exports devices under their names, to be looked at, on a free port of the loopback interface, for whoever has the token that is
   * made and logged once.
   *
   * @param devices the devices, which are open
   * @return the running server
   */
  public static Mono<VfioBridge> serve(VfioDevice... devices) {
    Builder builder = builder();
    for (VfioDevice device : devices) {
      builder.export(device);
    }
    return builder.start();
  }

  /**
   * Begins to describe a server.
   *
   * @return a description without devices: at a free port of the loopback interface, with a token to be made
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns where the server is.
   *
   * @return an address for {@link VfioRemote}; what HTTP has is under it, from {@code /v1/devices} on
   */
  public URI uri() {
    return uri;
  }

  /**
   * Returns the token that was made.
   *
   * @return the token, a secret
   * @throws IllegalStateException if the server was given tokens
   */
  public String token() {
    if (token == null) {
      throw new IllegalStateException("the server was given its tokens: it has made none");
    }
    return token;
  }

  /**
   * Ends all sessions, disables what remote users have enabled, and stops the server. The devices stay open. Closing twice does
   * nothing.
   *
   * @return ends when it is done
   */
  public Mono<Void> close() {
    return close;
  }

  /**
   * Tells when the server has stopped.
   *
   * @return ends then
   */
  public Mono<Void> onClose() {
    return onClose;
  }

  /** Describes a server. For one thread. */
  public static final class Builder {
    final Map<String, Export> exports = new LinkedHashMap<>();
    final Map<String, Set<Permission>> tokens = new LinkedHashMap<>();
    String host = "127.0.0.1";
    int port;

    @Nullable Path socket;

    @Nullable Path certificate;

    @Nullable Path key;

    @Nullable Path clients;

    BridgeLimits limits = BridgeLimits.defaults();

    private Builder() {}

    /**
     * Exports a device under its name.
     *
     * @param device the device, which is open
     * @param permissions what remote users may do at most; {@link Permission#READ_CONFIG} if none is given
     * @return this
     */
    public Builder export(VfioDevice device, Permission... permissions) {
      return export(device.name(), device, permissions);
    }

    /**
     * Exports a device.
     *
     * @param name the name that remote users know it by
     * @param device the device, which is open
     * @param permissions what remote users may do at most; {@link Permission#READ_CONFIG} if none is given
     * @return this
     * @throws IllegalArgumentException if the name is empty or another device has it
     */
    public Builder export(String name, VfioDevice device, Permission... permissions) {
      if (name.isBlank()) {
        throw new IllegalArgumentException("an exported device needs a name");
      }
      Set<Permission> most = permissions.length == 0
          ? EnumSet.of(Permission.READ_CONFIG)
          : EnumSet.of(permissions[0], permissions);
      if (exports.putIfAbsent(name, new Export(name, device, most, new Export.Counters()))
          != null) {
        throw new IllegalArgumentException("two exported devices have the name " + name);
      }
      return this;
    }

    /**
     * Gives somebody access, by a token. Without any, one for all that the exports allow is made.
     *
     * @param secret the token, at least 16 characters that are not to be guessed
     * @param permissions what may be done with it, if the device's export allows it too
     * @return this
     * @throws IllegalArgumentException if the token is too short or was given before
     */
    public Builder token(String secret, Permission... permissions) {
      if (secret.length() < 16) {
        throw new IllegalArgumentException("a token has at least 16 characters");
      }
      EnumSet<Permission> most = EnumSet.noneOf(Permission.class);
      most.addAll(Set.of(permissions));
      if (tokens.putIfAbsent(secret, most) != null) {
        throw new IllegalArgumentException("a token was given twice");
      }
      return this;
    }

    /**
     * Sets where to listen. What is not the loopback interface should have {@link #tls}.
     *
     * @param address a host's name or address
     * @param number the port, 0 for a free one
     * @return this
     */
    public Builder listen(String address, int number) {
      this.host = address;
      this.port = number;
      this.socket = null;
      return this;
    }

    /**
     * Has the server listen on a Unix-domain socket, which the file system's permissions guard.
     *
     * @param path where the socket is made; nothing may be there
     * @return this
     */
    public Builder listen(Path path) {
      this.socket = path;
      return this;
    }

    /**
     * Has the server use TLS.
     *
     * @param chain the server's certificate and those that vouch for it, PEM
     * @param privateKey its private key, PKCS#8 in PEM, without a password
     * @return this
     */
    public Builder tls(Path chain, Path privateKey) {
      this.certificate = chain;
      this.key = privateKey;
      return this;
    }

    /**
     * Has the server ask for the client's certificate, too (mutual TLS). Clients still need a token.
     *
     * @param authorities the certificates that vouch for clients, PEM
     * @return this
     */
    public Builder trustClients(Path authorities) {
      this.clients = authorities;
      return this;
    }

    /**
     * Sets what clients may cost.
     *
     * @param most the limits
     * @return this
     */
    public Builder limits(BridgeLimits most) {
      this.limits = most;
      return this;
    }

    /**
     * Starts the server as it is described now.
     *
     * @return the running server, which the caller closes; fails with a {@link VfioException} that says why it cannot run
     */
    public Mono<VfioBridge> start() {
      return Mono.defer(() -> {
            NeedsNetty.check("export devices");
            return new BridgeServer(this).run();
          })
          .subscribeOn(Schedulers.boundedElastic());
    }
  }
}
