package org.reactorvfio.bridge;

import io.netty.channel.Channel;
import io.netty.channel.ServerChannel;
import io.netty.channel.unix.DomainSocketAddress;
import io.netty.handler.ssl.ClientAuth;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Publisher;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.loop.EventLoop;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.netty.DisposableServer;
import reactor.netty.http.Http2SslContextSpec;
import reactor.netty.http.HttpProtocol;
import reactor.netty.http.server.HttpServer;
import reactor.netty.http.server.HttpServerRequest;
import reactor.netty.http.server.HttpServerResponse;
import reactor.netty.http.server.WebsocketServerSpec;
import reactor.netty.resources.LoopResources;
import reactor.netty.tcp.SslProvider;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * A server that exports devices of this process: to people over HTTP, to {@link VfioRemote} over WebSocket. The devices stay their
 * owner's, who goes on using them, and closes them after the bridge or before it.
 *
 * <p>Everybody must show a token. What may be done with a device is what its export and the token both allow; without further
 * {@link Permission}s that is to look at it, and to receive the signals of the vectors that the owner has armed.
 */
public final class VfioBridge {
  private static final Logger LOG = Loggers.getLogger(VfioBridge.class);

  private final DisposableServer server;
  private final URI uri;
  private final @Nullable String token;
  private final Mono<Void> close;

  private VfioBridge(DisposableServer server, URI uri, @Nullable String token, Mono<Void> close) {
    this.server = server;
    this.uri = uri;
    this.token = token;
    this.close = close;
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
    return server.onDispose();
  }

  /** Describes a server. For one thread. */
  public static final class Builder {
    private static final int TOKEN_BYTES = 32;

    private final Map<String, Export> exports = new LinkedHashMap<>();
    private final Map<String, Set<Permission>> tokens = new LinkedHashMap<>();
    private String host = "127.0.0.1";
    private int port;
    private @Nullable Path socket;
    private @Nullable Path certificate;
    private @Nullable Path key;
    private @Nullable Path clients;
    private BridgeLimits limits = BridgeLimits.defaults();

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
      return Mono.defer(() -> new Start(this).run()).subscribeOn(Schedulers.boundedElastic());
    }
  }

  /** The start of a server, with what it was described to be. */
  private static final class Start {
    private final Map<String, Export> exports;
    private final Builder what;
    private final BridgeLimits limits;
    private final Access access;
    private final @Nullable String made;
    private final BridgeSessions sessions;
    private final ConnectionGuard guard;
    private final EventLoop loop = new EventLoop("vfio-bridge", 0);
    private final int noEventfd = Syscalls.open("/dev/null", Syscalls.O_RDWR);
    private final HttpFace face;

    Start(Builder what) {
      this.what = what;
      this.limits = what.limits;
      this.exports = Map.copyOf(what.exports);
      this.access = new Access(limits.requestsPerSecond());
      if (what.tokens.isEmpty()) {
        byte[] secret = new byte[Builder.TOKEN_BYTES];
        new SecureRandom().nextBytes(secret);
        made = Base64.getUrlEncoder().withoutPadding().encodeToString(secret);
        access.add(made, EnumSet.allOf(Permission.class), limits.requestsPerSecond());
      } else {
        made = null;
        what.tokens.forEach(
            (secret, permissions) -> access.add(secret, permissions, limits.requestsPerSecond()));
      }
      this.sessions = new BridgeSessions(limits.sessions(), limits.grace());
      this.guard = new ConnectionGuard(limits.connections(), limits.idle());
      this.face = new HttpFace(exports, access, limits, this::connect);
    }

    Mono<VfioBridge> run() {
      if (what.socket != null && !LoopResources.hasNativeSupport()) {
        Syscalls.close(noEventfd);
        return Mono.error(new NotSupportedException(
            "listen",
            what.socket.toString(),
            0,
            "Unix-domain sockets need Netty's native transport",
            "add io.netty:netty-transport-native-epoll with this machine's classifier"));
      }
      return configured(HttpServer.create())
          .bind()
          .map(this::started)
          .onErrorMap(e -> !(e instanceof VfioException), this::failure)
          .doOnError(e -> Syscalls.close(noEventfd));
    }

    private VfioException failure(Throwable e) {
      String where = what.socket == null ? what.host + ":" + what.port : what.socket.toString();
      return new VfioException(
          "listen", where, 0, String.valueOf(e.getMessage()), "see the cause", e);
    }

    private HttpServer configured(HttpServer server) {
      Path socket = what.socket;
      HttpServer listening = socket == null
          ? server.host(what.host).port(what.port)
          : server.bindAddress(() -> new DomainSocketAddress(socket.toFile()));
      return secured(listening)
          .httpRequestDecoder(spec -> spec.maxInitialLineLength(4096)
              .maxHeaderSize(8192)
              .h2cMaxContentLength(limits.messageBytes()))
          .http2Settings(settings -> settings.maxConcurrentStreams(100).maxHeaderListSize(8192))
          .idleTimeout(limits.idle())
          .requestTimeout(limits.idle())
          .maxKeepAliveRequests(100_000)
          .doOnChannelInit((observer, channel, remote) -> guard.accepted(channel))
          .handle(this::handle);
    }

    private HttpServer secured(HttpServer server) {
      Path certificate = what.certificate;
      Path key = what.key;
      if (certificate == null || key == null) {
        return server.protocol(HttpProtocol.HTTP11, HttpProtocol.H2C);
      }
      Http2SslContextSpec tls = Http2SslContextSpec.forServer(certificate.toFile(), key.toFile());
      Path clients = what.clients;
      if (clients != null) {
        tls.configure(
            context -> context.trustManager(clients.toFile()).clientAuth(ClientAuth.REQUIRE));
      }
      return server
          .protocol(HttpProtocol.HTTP11, HttpProtocol.H2)
          .secure(spec -> spec.sslContext((SslProvider.GenericSslContextSpec<?>) tls));
    }

    private Publisher<Void> handle(HttpServerRequest request, HttpServerResponse response) {
      Channel[] connection = new Channel[1];
      request.withConnection(c -> connection[0] = c.channel());
      Channel channel = connection[0];
      boolean http1 = channel.parent() instanceof ServerChannel;
      guard.arrived(http1 ? channel : channel.parent());
      return Mono.from(face.handle(request, response)).doFinally(end -> {
        if (http1 && channel.isActive()) {
          guard.await(channel);
        }
      });
    }

    private Publisher<Void> connect(
        Export export, Access.Token token, HttpServerResponse response) {
      WebsocketServerSpec spec = WebsocketServerSpec.builder()
          .maxFramePayloadLength(limits.messageBytes())
          .build();
      BridgeSessions.Maker maker =
          id -> new BridgeSession(id, export, token.permissions(), loop, limits, noEventfd);
      return response.sendWebsocket(
          (in, out) -> new BridgeConnection(sessions, maker, export, token, limits).run(in, out),
          spec);
    }

    private VfioBridge started(DisposableServer server) {
      for (Export export : exports.values()) {
        export
            .device()
            .onClose()
            .then(sessions.endAll(export, closed("the owner has closed the device")))
            .takeUntilOther(server.onDispose())
            .subscribe(null, e -> LOG.warn("ending the sessions of a device failed", e));
      }
      URI uri = uri(server);
      if (made != null) {
        LOG.info("devices are exported at {} for whoever shows the token {}", uri, made);
      }
      Mono<Void> close = sessions
          .endAll(null, closed("the owner has stopped the bridge"))
          .then(Mono.fromRunnable(server::dispose))
          .then(server.onDispose())
          .then(Mono.<Void>fromRunnable(() -> Syscalls.close(noEventfd))
              .subscribeOn(Schedulers.boundedElastic()))
          .cache();
      return new VfioBridge(server, uri, made, close);
    }

    private static DeviceClosedException closed(String why) {
      return new DeviceClosedException("export", "the device", Errno.ENODEV, why, "open it again");
    }

    private URI uri(DisposableServer server) {
      Path socket = what.socket;
      if (socket != null) {
        return URI.create("unix://" + socket.toAbsolutePath());
      }
      int port =
          server.address() instanceof InetSocketAddress address ? address.getPort() : what.port;
      String scheme = what.certificate == null ? "http" : "https";
      String address = what.host.contains(":") ? "[" + what.host + "]" : what.host;
      return URI.create(scheme + "://" + address + ":" + port);
    }
  }
}
