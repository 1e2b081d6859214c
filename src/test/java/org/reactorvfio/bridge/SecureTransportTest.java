package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.emulation.EmulatedDevice;
import reactor.netty.http.Http2SslContextSpec;
import reactor.netty.http.HttpProtocol;
import reactor.netty.http.client.HttpClient;
import reactor.netty.tcp.SslProvider;

/** TLS, mutual TLS, Unix-domain sockets, and who may do what. */
class SecureTransportTest {
  private static final Duration LIMIT = Duration.ofSeconds(60);

  @TempDir
  private static Path directory;

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .name("nic")
      .memoryBar(0, 4096)
      .msix(4)
      .build();
  private VfioDevice owned;
  private VfioBridge bridge;

  @BeforeEach
  void open() {
    owned = Vfio.open(hardware).block(LIMIT);
    owned.config().enableBusMaster().then(owned.interrupts().msix().enable(2)).block(LIMIT);
  }

  @AfterEach
  void close() {
    if (bridge != null) {
      bridge.close().block(LIMIT);
    }
    owned.close().block(LIMIT);
  }

  private void start(VfioBridge.Builder builder) {
    bridge = builder.start().block(LIMIT);
  }

  /** Reads config space, and takes a count. */
  private void works(VfioRemote way) {
    VfioDevice remote = Vfio.open(way.withToken(bridge.token()).device("nic")).block(LIMIT);
    assertThat(remote.config().read16(0).block(LIMIT)).isEqualTo((short) 0x1234);
    remote.interrupts().msix().enable(2).block(LIMIT);
    hardware.raiseMsix(1);
    assertThat(remote.interrupts().msix().vector(1).blockFirst(LIMIT).count()).isEqualTo(1);
    remote.close().block(LIMIT);
    assertThat(way.withToken(bridge.token()).devices().collectList().block(LIMIT))
        .containsExactly("nic");
  }

  @Test
  void tlsAndWhoVouches() throws Exception {
    Certificates server = Certificates.make(directory, "server");
    Certificates other = Certificates.make(directory, "other");
    start(VfioBridge.builder().export(owned).tls(server.chain(), server.key()));
    assertThat(bridge.uri().getScheme()).isEqualTo("https");

    works(Vfio.remote(bridge.uri()).withTrust(server.chain()));

    // Neither a server that nobody vouches for, nor one that is somebody else, nor clear text.
    for (VfioRemote wrong : new VfioRemote[] {
      Vfio.remote(bridge.uri()),
      Vfio.remote(bridge.uri()).withTrust(other.chain()),
      Vfio.remote(URI.create("http://127.0.0.1:" + bridge.uri().getPort()))
    }) {
      assertThatThrownBy(
              () -> Vfio.open(wrong.withToken(bridge.token()).device("nic")).block(LIMIT))
          .isInstanceOf(VfioException.class)
          .hasMessageContaining("nic");
    }
    works(Vfio.remote(bridge.uri()).withTrust(server.chain()));

    HttpClient http2 = HttpClient.newConnection()
        .protocol(HttpProtocol.H2)
        .secure(spec ->
            spec.sslContext((SslProvider.GenericSslContextSpec<?>) Http2SslContextSpec.forClient()
                .configure(context -> context.trustManager(server.chain().toFile()))))
        .headers(headers -> headers.set("Authorization", "Bearer " + bridge.token()));
    assertThat(http2
            .get()
            .uri(bridge.uri() + "/v1/devices")
            .responseSingle((response, content) ->
                content.asString().map(text -> response.version() + " " + text))
            .block(LIMIT))
        .isEqualTo("HTTP/2.0 {\"devices\":[{\"name\":\"nic\",\"kind\":\"PCI\"}]}");
  }

  @Test
  void mutualTls() throws Exception {
    Certificates server = Certificates.make(directory, "server2");
    Certificates client = Certificates.make(directory, "client2");
    start(VfioBridge.builder()
        .export(owned)
        .tls(server.chain(), server.key())
        .trustClients(client.chain()));
    VfioRemote there = Vfio.remote(bridge.uri()).withTrust(server.chain());

    works(there.withIdentity(client.chain(), client.key()));

    for (VfioRemote wrong :
        new VfioRemote[] {there, there.withIdentity(server.chain(), server.key())}) {
      assertThatThrownBy(
              () -> Vfio.open(wrong.withToken(bridge.token()).device("nic")).block(LIMIT))
          .isInstanceOf(VfioException.class);
    }
    // A certificate is no token.
    assertThatThrownBy(() -> Vfio.open(there
                .withIdentity(client.chain(), client.key())
                .withToken("guessed, and wrong")
                .device("nic"))
            .block(LIMIT))
        .isInstanceOf(PermissionDeniedException.class);
  }

  @Test
  void unixSockets() {
    Path socket = directory.resolve("bridge.sock");
    start(VfioBridge.builder().export(owned).listen(socket));
    assertThat(bridge.uri()).isEqualTo(URI.create("unix://" + socket));

    works(Vfio.remote(bridge.uri()));

    bridge.close().block(LIMIT);
    assertThatThrownBy(
            () -> Vfio.open(Vfio.remote(bridge.uri()).withToken(bridge.token()).device("nic"))
                .block(LIMIT))
        .isInstanceOf(VfioException.class)
        .hasMessageContaining("cannot be reached");
    // What is left behind by a server that ended is taken over by the next one.
    assertThat(Files.exists(socket)).isFalse();
    start(VfioBridge.builder().export(owned).listen(socket));
    works(Vfio.remote(bridge.uri()));
  }

  @Test
  void aTokenAllowsNoMoreThanTheExport() {
    String reader = "the token of a reader";
    String writer = "the token of a writer";
    start(VfioBridge.builder()
        .export("open", owned, Permission.READ_REGION, Permission.WRITE)
        .export("closed", owned, Permission.READ_REGION)
        .token(reader, Permission.READ_REGION)
        .token(writer, Permission.READ_REGION, Permission.WRITE));
    may(reader, "open", true, false);
    may(writer, "open", true, true);
    may(writer, "closed", true, false);
    may(reader, "closed", true, false);
    assertThatThrownBy(bridge::token).isInstanceOf(IllegalStateException.class);
  }

  private void may(String token, String name, boolean read, boolean write) {
    VfioDevice remote =
        Vfio.open(Vfio.remote(bridge.uri()).withToken(token).device(name)).block(LIMIT);
    for (var use :
        new Object[][] {{read, remote.bar(0).read32(0)}, {write, remote.bar(0).write32(0, 1)}}) {
      var operation = (reactor.core.publisher.Mono<?>) use[1];
      if ((boolean) use[0]) {
        operation.block(LIMIT);
      } else {
        assertThatThrownBy(() -> operation.block(LIMIT))
            .isInstanceOf(PermissionDeniedException.class);
      }
    }
    remote.close().block(LIMIT);
  }

  @Test
  void whatWasEndedByTheOwnerSaysSo() {
    start(VfioBridge.builder().export(owned));
    VfioDevice remote = Vfio.open(
            Vfio.remote(bridge.uri()).withToken(bridge.token()).device("nic"))
        .block(LIMIT);
    owned.close().block(LIMIT);
    remote.onClose().onErrorComplete().block(LIMIT);
    assertThatThrownBy(() -> remote.config().read16(0).block(LIMIT))
        .isInstanceOfAny(DeviceClosedException.class, org.reactorvfio.DeviceLostException.class);
  }
}
