package org.reactorvfio.bridge;

import static java.util.Objects.requireNonNull;

import io.netty.channel.Channel;
import io.netty.channel.ChannelOption;
import io.netty.channel.ServerChannel;
import io.netty.channel.unix.DomainSocketAddress;
import io.netty.handler.ssl.ClientAuth;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.reactivestreams.Publisher;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.loop.EventLoop;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
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

/** The server of a bridge, as it was described. */
final class BridgeServer {
  private static final Logger LOG = Loggers.getLogger(BridgeServer.class);
  private static final int TOKEN_BYTES = 32;

  private final Map<String, Export> exports;
  private final VfioBridge.Builder what;
  private final BridgeLimits limits;
  private final Access access;
  private final @Nullable String made;
  private final BridgeSessions sessions;
  private final ConnectionGuard guard;
  private final EventLoop loop = new EventLoop("vfio-bridge", 0);
  private final int noEventfd = Syscalls.open("/dev/null", Syscalls.O_RDWR);
  private final Sinks.Empty<Void> stopped = Sinks.empty();
  private final HttpFace face;

  BridgeServer(VfioBridge.Builder what) {
    this.what = what;
    this.limits = what.limits;
    this.exports = Map.copyOf(what.exports);
    this.access = new Access(limits.requestsPerSecond());
    if (what.tokens.isEmpty()) {
      byte[] secret = new byte[TOKEN_BYTES];
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
    Map<Export, Watch> watches = new HashMap<>();
    long now = System.nanoTime();
    for (Export export : exports.values()) {
      watches.put(export, new Watch(export, sessions, now, stopped.asMono()));
    }
    this.face = new HttpFace(
        exports,
        access,
        limits,
        names(),
        this::connect,
        export -> requireNonNull(watches.get(export)));
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
        .childOption(ChannelOption.SO_KEEPALIVE, true)
        .idleTimeout(limits.idle())
        .requestTimeout(limits.idle())
        .maxKeepAliveRequests(100_000)
        .doOnChannelInit((observer, channel, remote) -> guard.accepted(channel))
        .handle(this::handle);
  }

  private Names names() {
    boolean loopback = what.host.equals("localhost")
        || what.host.equals("::1")
        || what.host.matches("127\\.[0-9.]+");
    return new Names(what.host, what.socket != null || !loopback);
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

  private Publisher<Void> connect(Export export, Access.Token token, HttpServerResponse response) {
    WebsocketServerSpec spec = WebsocketServerSpec.builder()
        .maxFramePayloadLength(limits.messageBytes())
        .handlePing(true)
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
        .then(Mono.fromRunnable(() -> {
          stopped.tryEmitEmpty();
          server.dispose();
          guard.close();
        }))
        .then(server.onDispose())
        .then(Mono.<Void>fromRunnable(() -> Syscalls.close(noEventfd))
            .subscribeOn(Schedulers.boundedElastic()))
        .cache();
    return new VfioBridge(uri, made, close, server.onDispose());
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
