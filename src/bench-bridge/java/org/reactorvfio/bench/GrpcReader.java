package org.reactorvfio.bench;

import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.LongConsumer;
import org.reactivestreams.Subscription;
import org.reactorvfio.irq.Interrupt;
import reactor.core.publisher.BaseSubscriber;

/**
 * gRPC: a call for each vector, whose answers are totals, with manual flow control on both sides. The server knows whether there is room
 * in its buffers, not whether the client wants an element.
 */
final class GrpcReader implements Reader {
  private static final MethodDescriptor.Marshaller<byte[]> BYTES =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] value) {
          return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
          try {
            return stream.readAllBytes();
          } catch (IOException e) {
            throw new UncheckedIOException(e);
          }
        }
      };
  private static final MethodDescriptor<byte[], byte[]> WATCH = MethodDescriptor.newBuilder(
          BYTES, BYTES)
      .setType(MethodDescriptor.MethodType.SERVER_STREAMING)
      .setFullMethodName("bench/watch")
      .build();

  private final Owner owner;
  private final int vectors;
  private final EventLoopGroup serving = new EpollEventLoopGroup(1);
  private final EventLoopGroup asking = new EpollEventLoopGroup(1);
  private final SocketAddress address;
  private final Server server;
  private final ManagedChannel channel;

  private GrpcReader(boolean unix, int vectors) throws IOException {
    this.vectors = vectors;
    owner = new Owner(vectors);
    SocketAddress listen = unix
        ? new DomainSocketAddress(Owner.socket().toFile())
        : new InetSocketAddress("127.0.0.1", 0);
    server = NettyServerBuilder.forAddress(listen)
        .channelType(unix ? EpollServerDomainSocketChannel.class : EpollServerSocketChannel.class)
        .bossEventLoopGroup(serving)
        .workerEventLoopGroup(serving)
        .directExecutor()
        .addService(ServerServiceDefinition.builder("bench")
            .addMethod(WATCH, ServerCalls.asyncServerStreamingCall(this::watch))
            .build())
        .build()
        .start();
    address = server.getListenSockets().get(0);
    channel = NettyChannelBuilder.forAddress(address)
        .channelType(unix ? EpollDomainSocketChannel.class : EpollSocketChannel.class)
        .eventLoopGroup(asking)
        .directExecutor()
        .usePlaintext()
        .build();
  }

  static Factory of(boolean unix) {
    return vectors -> new GrpcReader(unix, vectors);
  }

  private void watch(byte[] request, StreamObserver<byte[]> answers) {
    ServerCallStreamObserver<byte[]> client = (ServerCallStreamObserver<byte[]>) answers;
    Sender sender = new Sender(client);
    client.setOnReadyHandler(sender::look);
    client.setOnCancelHandler(sender::cancel);
    owner.signals(ByteBuffer.wrap(request).getInt()).subscribe(sender);
  }

  /** Takes a vector's signals while there is room for them. */
  private static final class Sender extends BaseSubscriber<Interrupt> {
    private final ServerCallStreamObserver<byte[]> client;
    private final AtomicBoolean asked = new AtomicBoolean();
    private long total;

    Sender(ServerCallStreamObserver<byte[]> client) {
      this.client = client;
    }

    void look() {
      if (client.isReady() && asked.compareAndSet(false, true)) {
        request(1);
      }
    }

    @Override
    protected void hookOnSubscribe(Subscription subscription) {
      look();
    }

    @Override
    protected void hookOnNext(Interrupt signals) {
      total += signals.count();
      client.onNext(ByteBuffer.allocate(8).putLong(total).array());
      asked.set(false);
      look();
    }
  }

  @Override
  public long eventfds() {
    return owner.device.eventfds.address();
  }

  @Override
  public void start(LongConsumer handler) {
    for (int i = 0; i < vectors; i++) {
      ClientCalls.asyncServerStreamingCall(
          channel.newCall(WATCH, CallOptions.DEFAULT),
          ByteBuffer.allocate(4).putInt(i).array(),
          new Receiver(handler));
    }
  }

  private static final class Receiver implements ClientResponseObserver<byte[], byte[]> {
    private final LongConsumer handler;
    private ClientCallStreamObserver<byte[]> call;
    private long known;

    Receiver(LongConsumer handler) {
      this.handler = handler;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<byte[]> stream) {
      call = stream;
      stream.disableAutoRequestWithInitial(1);
    }

    @Override
    public void onNext(byte[] answer) {
      long total = ByteBuffer.wrap(answer).getLong();
      handler.accept(total - known);
      known = total;
      call.request(1);
    }

    @Override
    public void onError(Throwable e) {
      // Shut down.
    }

    @Override
    public void onCompleted() {
      // The owner has disarmed the vector.
    }
  }

  @Override
  public void close() throws Exception {
    channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    server.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    owner.close();
    serving.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    asking.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    Owner.remove(address);
  }
}
