package org.reactorvfio.bench;

import io.netty.channel.IoEvent;
import io.netty.channel.IoEventLoop;
import io.netty.channel.IoHandlerFactory;
import io.netty.channel.IoRegistration;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.SelectStrategy;
import io.netty.channel.epoll.EpollIoHandle;
import io.netty.channel.epoll.EpollIoHandler;
import io.netty.channel.epoll.EpollIoOps;
import io.netty.channel.unix.FileDescriptor;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.LongConsumer;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;

/** The road not taken: eventfds on a Netty event loop. A bare callback, without demand, counts per subscriber or streams. */
final class NettyReader implements Reader {
  private final MultiThreadIoEventLoopGroup group;
  private final List<EventFd> eventFds = new ArrayList<>();
  private final List<IoRegistration> registrations = new ArrayList<>();
  private final NativeBuffer numbers;

  private NettyReader(IoHandlerFactory factory, int vectors) throws LinuxException {
    group = new MultiThreadIoEventLoopGroup(1, factory);
    numbers = NativeBuffer.allocate(4 * vectors);
    for (int i = 0; i < vectors; i++) {
      EventFd eventFd = EventFd.create();
      eventFds.add(eventFd);
      numbers.bytes().putInt(4 * i, eventFd.fd());
    }
  }

  static Factory blocking() {
    return vectors -> new NettyReader(EpollIoHandler.newFactory(), vectors);
  }

  static Factory spinning() {
    SelectStrategy busy = (select, tasks) -> tasks ? select.get() : SelectStrategy.BUSY_WAIT;
    return vectors -> new NettyReader(EpollIoHandler.newFactory(0, () -> busy), vectors);
  }

  @Override
  public long eventfds() {
    return numbers.address();
  }

  @Override
  public void start(LongConsumer handler) throws Exception {
    IoEventLoop loop = group.next();
    for (EventFd eventFd : eventFds) {
      IoRegistration registration =
          loop.register(new Handle(new FileDescriptor(eventFd.fd()), handler)).get();
      registrations.add(registration);
      registration.submit(EpollIoOps.EPOLLIN);
    }
  }

  @Override
  public void close() {
    registrations.forEach(IoRegistration::cancel);
    group.shutdownGracefully(0, 5, TimeUnit.SECONDS).syncUninterruptibly();
    eventFds.forEach(EventFd::close);
  }

  private static final class Handle implements EpollIoHandle {
    private final FileDescriptor fd;
    private final LongConsumer handler;
    private final NativeBuffer word = NativeBuffer.allocate(8);

    Handle(FileDescriptor fd, LongConsumer handler) {
      this.fd = fd;
      this.handler = handler;
    }

    @Override
    public FileDescriptor fd() {
      return fd;
    }

    @Override
    public void handle(IoRegistration registration, IoEvent event) {
      try {
        if (fd.readAddress(word.address(), 0, 8) == 8) {
          handler.accept(word.bytes().getLong(0));
        }
      } catch (IOException e) {
        throw new IllegalStateException(e);
      }
    }

    @Override
    public void close() {
      // The eventfd's owner closes it.
    }
  }
}
