package org.reactorvfio.samples.irqtop;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.reactorvfio.Vfio;
import org.reactorvfio.bridge.VfioRemote;
import org.reactorvfio.samples.irqtop.Arguments.Option;

/**
 * What is shown to servers. A token comes from a file or from the environment, never from the command line, which everybody on the
 * machine can read.
 */
record Access(
    Optional<String> token,
    Optional<Path> authorities,
    Optional<Path> certificate,
    Optional<Path> key) {
  static final String VARIABLE = "IRQTOP_TOKEN";

  static Access of(Arguments arguments, Map<String, String> environment) {
    Optional<String> token = arguments
        .value(Option.TOKEN_FILE)
        .map(Access::read)
        .or(() -> Optional.ofNullable(environment.get(VARIABLE)))
        .map(String::strip)
        .filter(text -> !text.isEmpty());
    return new Access(
        token,
        arguments.value(Option.CA).map(Path::of),
        arguments.value(Option.CERT).map(Path::of),
        arguments.value(Option.KEY).map(Path::of));
  }

  private static String read(String file) {
    try {
      return Files.readString(Path.of(file));
    } catch (IOException e) {
      throw new UsageException("the token file " + file + " cannot be read");
    }
  }

  Access withToken(String secret) {
    return new Access(Optional.of(secret), authorities, certificate, key);
  }

  String needToken() {
    return token.orElseThrow(() -> new UsageException(
        "a server asks for a token: name a file that has it by --token-file, or set " + VARIABLE));
  }

  VfioRemote remote(URI server) {
    VfioRemote remote = Vfio.remote(server).withToken(needToken());
    if (authorities.isPresent()) {
      remote = remote.withTrust(authorities.get());
    }
    return certificate.isPresent() && key.isPresent()
        ? remote.withIdentity(certificate.get(), key.get())
        : remote;
  }
}
