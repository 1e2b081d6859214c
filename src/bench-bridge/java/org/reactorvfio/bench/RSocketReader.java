package org.reactorvfio.bench;

import io.netty.channel.unix.DomainSocketAddress;
import io.rsocket.Payload;
import io.rsocket.RSocket;
import io.rsocket.SocketAcceptor;
import io.rsocket.core.RSocketConnector;
import io.rsocket.core.RSocketServer;
import io.rsocket.frame.decoder.PayloadDecoder;
import io.rsocket.transport.netty.client.TcpClientTransport;
import io.rsocket.transport.netty.server.CloseableChannel;
import io.rsocket.transport.netty.server.TcpServerTransport;
import io.rsocket.util.DefaultPayload;
import java.net.SocketAddress;
import java.nio.ByteBuffer;
import java.util.function.LongConsumer;
import org.reactivestreams.Subscription;
import reactor.core.Disposable;
import reactor.core.Disposables;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.netty.tcp.TcpClient;
import reactor.netty.tcp.TcpServer;

/** RSocket: a stream for each vector, of totals, asked for one by one (REQUEST_N). */
final class RSocketReader implements Reader {
  private final Owner owner;
  private final int vectors;
  private final SocketAddress address;
  private final CloseableChannel server;
  private final RSocket client;
  private final Disposable.Composite subscriptions = Disposables.composite();

  private RSocketReader(boolean unix, int vectors) {
    this.vectors = vectors;
    owner = new Owner(vectors);
    SocketAddress socket = unix ? new DomainSocketAddress(Owner.socket().toFile()) : null;
    TcpServer tcp = unix
        ? TcpServer.create().bindAddress(() -> socket)
        : TcpServer.create().host("127.0.0.1").port(0);
    server = RSocketServer.create(SocketAcceptor.forRequestStream(this::watch))
        .payloadDecoder(PayloadDecoder.ZERO_COPY)
        .bindNow(TcpServerTransport.create(tcp));
    // The channel takes its address for one of the Internet.
    address = unix ? socket : server.address();
    client = RSocketConnector.create()
        .payloadDecoder(PayloadDecoder.ZERO_COPY)
        .connect(TcpClientTransport.create(TcpClient.create().remoteAddress(() -> address)))
        .block();
  }

  static Factory of(boolean unix) {
    return vectors -> new RSocketReader(unix, vectors);
  }

  private Flux<Payload> watch(Payload request) {
    int vector = request.data().readInt();
    request.release();
    long[] total = new long[1];
    return owner.signals(vector).map(signals -> {
      total[0] += signals.count();
      return DefaultPayload.create(ByteBuffer.allocate(8).putLong(total[0]).flip());
    });
  }

  @Override
  public long eventfds() {
    return owner.device.eventfds.address();
  }

  @Override
  public void start(LongConsumer handler) {
    for (int i = 0; i < vectors; i++) {
      Payload request = DefaultPayload.create(ByteBuffer.allocate(4).putInt(i).flip());
      subscriptions.add(client.requestStream(request).subscribeWith(new Receiver(handler)));
    }
  }

  private static final class Receiver extends BaseSubscriber<Payload> {
    private final LongConsumer handler;
    private long known;

    Receiver(LongConsumer handler) {
      this.handler = handler;
    }

    @Override
    protected void hookOnSubscribe(Subscription subscription) {
      request(1);
    }

    @Override
    protected void hookOnNext(Payload answer) {
      long total = answer.data().readLong();
      answer.release();
      handler.accept(total - known);
      known = total;
      request(1);
    }
  }

  @Override
  public void close() throws Exception {
    subscriptions.dispose();
    client.dispose();
    server.dispose();
    server.onClose().block();
    owner.close();
    Owner.remove(address);
  }
}
