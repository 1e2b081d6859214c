package org.reactorvfio.samples.irqtop;

import java.util.function.Function;
import org.reactivestreams.Publisher;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import reactor.core.publisher.Flux;

/** Opens what the command line names, and closes it when its use has ended. */
final class Devices {
  private final Access access;

  Devices(Access access) {
    this.access = access;
  }

  /** An open device, and the server that has it, if one has. */
  record Opened(VfioDevice device, Target target, Access access) {
    boolean remote() {
      return target instanceof Target.Remote;
    }

    Server server() {
      return new Server(((Target.Remote) target).server(), access);
    }

    String exportName() {
      return ((Target.Remote) target).name();
    }
  }

  <T> Flux<T> use(Target target, Function<Opened, Publisher<T>> use) {
    if (target instanceof Target.Demo) {
      return Flux.usingWhen(
          Demonstration.start(),
          demo -> use(demo.target(), access.withToken(demo.token()), use),
          Demonstration::close);
    }
    return use(target, access, use);
  }

  private static <T> Flux<T> use(Target target, Access access, Function<Opened, Publisher<T>> use) {
    return Flux.usingWhen(
        target instanceof Target.Remote remote
            ? Vfio.open(access.remote(remote.server()).device(remote.name()))
            : Vfio.open(((Target.Local) target).address()),
        device -> use.apply(new Opened(device, target, access)),
        VfioDevice::close);
  }
}
